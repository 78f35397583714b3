// Copyright (c) 2026, the legionio.ollama authors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the npm package `ollama` makes of a gateway: node ollama_client.mjs CALL URL KEY ARGUMENTS
// prints as JSON what the package returned, or the name and the status of the error that it threw.
import { Ollama } from "ollama";

const [call, url, key, given] = process.argv.slice(2);
const asked = JSON.parse(given);
const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });

async function all(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

const calls = {
  chat: () => client.chat(asked),
  stream: async () => all(await client.chat({ ...asked, stream: true })),
  generate: () => client.generate(asked),
  embed: () => client.embed(asked),
  models: async () => (await client.list()).models.map((model) => model.model),
  pull: () => client.pull(asked),
  async cancel() {
    for await (const piece of await client.chat({ ...asked, stream: true })) {
      client.abort();
      return piece;
    }
  },
};

try {
  console.log(JSON.stringify({ returned: await calls[call]() }));
} catch (error) {
  console.log(JSON.stringify({ error: error.name, status: error.status_code, message: error.message }));
}
