// Copyright (c) 2026, the legionio.ollama authors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the npm package `openai` makes of a gateway: node openai_client.mjs CALL URL KEY ARGUMENTS
// prints as JSON what the package returned, or the name and the status of the error that it threw.
import OpenAI from "openai";

const [call, url, key, given] = process.argv.slice(2);
const asked = JSON.parse(given);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });

const calls = {
  chat: () => client.chat.completions.create(asked),
  async stream() {
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) chunks.push(chunk);
    return chunks;
  },
  async tools() {
    const runner = client.chat.completions.stream(asked);
    return { final: await runner.finalChatCompletion() };
  },
  // Without encoding_format the package asks for base64, and decodes it.
  embed: () => client.embeddings.create(asked),
  async responses() {
    const types = [];
    for await (const event of await client.responses.create({ ...asked, stream: true })) types.push(event.type);
    return { text: (await client.responses.create(asked)).output_text, types };
  },
  async models() {
    const found = [];
    for await (const model of client.models.list()) found.push(model.id);
    return found;
  },
  async cancel() {
    const stream = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of stream) {
      stream.controller.abort();
      return chunk;
    }
  },
};

try {
  console.log(JSON.stringify({ returned: await calls[call]() }));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, status: error.status, message: error.message }));
}
