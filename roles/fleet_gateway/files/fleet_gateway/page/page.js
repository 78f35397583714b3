// Copyright (c) 2026, the legionio.ollama authors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Asks the gateway for the state of the fleet, shows it, and tries a model.
// Names come from the broker and from other people: each is shown as a text, by textContent, and never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const PAUSE = 2000; // milliseconds between two looks; 10 s after one that failed
const PAUSE_AFTER_FAILURE = 10000;
const PATIENCE = 10000; // milliseconds for one answer
const STATES = { available: "available", silent: "says nothing", degraded: "degraded", unavailable: "unavailable", foreign: "not for gateways" };
const STAGES = { receiving: "is received", waiting: "waits for its turn", sent: "at the fleet", answering: "is answered" };

const byId = (id) => document.getElementById(id);

// The key stays in this tab, and is forgotten with it.
let key = sessionStorage.getItem("key") || "";
let timer = 0;
let asking = null;
let trying = null;

function headers(more) {
  return key ? { ...more, Authorization: `Bearer ${key}` } : { ...more };
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Tables

// Rows and cells are kept and only their texts change, so that a selection or the focus survives the next look.
function fill(body, rows) {
  const labels = [...body.parentElement.tHead.rows[0].cells];
  while (body.rows.length > Math.max(rows.length, 1)) body.deleteRow(-1);
  if (rows.length === 0) {
    const row = body.rows[0] || body.insertRow();
    while (row.cells.length > 1) row.deleteCell(-1);
    const cell = row.cells[0] || row.insertCell();
    cell.className = "empty quiet";
    cell.colSpan = labels.length;
    delete cell.dataset.label;
    put(cell, body.dataset.empty);
    return;
  }
  rows.forEach((texts, index) => {
    const row = body.rows[index] || body.insertRow();
    texts.forEach((content, column) => {
      const cell = row.cells[column] || row.insertCell();
      const label = labels[column];
      cell.className = label.className;
      cell.removeAttribute("colspan");
      cell.dataset.label = label.textContent;
      if (content instanceof Object) {
        showBadge(cell, content);
      } else {
        put(cell, String(content));
      }
    });
  });
}

function showBadge(cell, { text, kind }) {
  let badge = cell.querySelector(".badge");
  if (!badge) {
    cell.textContent = "";
    badge = cell.appendChild(document.createElement("span"));
  }
  badge.className = `badge ${kind}`;
  put(badge, text);
}

function nodeState(node) {
  // Each lane of a node has a state: one model may be away while the others are served.
  const text = node.states.map((state) => STATES[state] || state).join(", ");
  const served = node.states.includes("available");
  const kind = !served ? "bad" : node.states.length === 1 ? "good" : "";
  return { text: node.trouble ? `${text}: ${node.trouble}` : text, kind };
}

function ago(seconds) {
  if (seconds < 120) return `${seconds} s ago`;
  return `${Math.round(seconds / 60)} min ago`;
}

function duration(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// Rates

const sum = (numbers) => numbers.reduce((total, one) => total + one, 0);

function chart(element, values, failures, unit) {
  const most = Math.max(1, ...values);
  while (element.childElementCount < 2 * values.length) element.appendChild(document.createElementNS(SVG, "rect"));
  values.forEach((value, index) => {
    bar(element.children[2 * index], index, value / most, "bar");
    bar(element.children[2 * index + 1], index, failures[index] / most, "failed");
  });
  const failed = sum(failures);
  const label = `${sum(values)} ${unit}${failed ? `, ${failed} failed` : ""} in 15 minutes; at most ${Math.max(...values)} in 5 seconds`;
  if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
}

function bar(element, index, share, name) {
  const height = 40 * Math.min(1, share);
  element.setAttribute("class", name);
  element.setAttribute("x", String(index + 0.1));
  element.setAttribute("width", "0.8");
  element.setAttribute("y", String(40 - height));
  element.setAttribute("height", String(height));
}

function showRates(rates) {
  const minute = Math.round(60 / rates.interval_seconds);
  const lately = rates.output_tokens.slice(-minute);
  put(byId("rate-requests"), String(sum(rates.requests.slice(-minute))));
  put(byId("rate-tokens"), (sum(lately) / 60).toFixed(1));
  chart(byId("chart-requests"), rates.requests, rates.failures, "requests");
  chart(byId("chart-tokens"), rates.output_tokens, rates.output_tokens.map(() => 0), "output tokens");
}

// The state

function show(state) {
  const { gateway, viewer } = state;
  put(byId("gateway-name"), gateway.name);
  document.title = `Fleet gateway ${gateway.name}`;
  badgeState(gateway.ready ? "Ready" : `Not ready: ${gateway.reason}`, gateway.ready ? "good" : "bad");
  put(byId("gateway-details"), `version ${gateway.version}, up for ${duration(gateway.up_seconds)}`);
  byId("key-form").hidden = !gateway.asks_for_keys;
  put(byId("viewer"), viewerText(viewer));
  put(byId("whose"), whose(viewer));
  put(byId("count-nodes"), String(state.nodes.filter((node) => node.states.includes("available")).length));
  put(byId("count-models"), String(state.models.length));
  put(byId("count-running"), String(sum(state.lanes.map((lane) => lane.running))));
  put(byId("count-waiting"), String(sum(state.lanes.map((lane) => lane.waiting))));
  showRates(state.rates);
  fill(byId("nodes"), state.nodes.map((node) => [node.name, nodeState(node), node.slots, node.models.join(", "), ago(node.heard_seconds_ago)]));
  fill(byId("models"), state.models.map((model) => [model.name, model.calls.join(", "), model.nodes.join(", ")]));
  fill(byId("lanes"), state.lanes.map((lane) => [lane.queue, lane.model, lane.nodes.join(", ") || "none", lane.slots, lane.running, lane.waiting, lane.at_broker ?? "–"]));
  fill(byId("under-way"), state.under_way.map((one) => [one.key, one.model, one.path, STAGES[one.stage] || one.stage, one.node || "–", one.seconds.toFixed(1)]));
  fill(byId("ended"), state.ended.map((one) => [one.key, one.model, one.path, { text: String(one.status), kind: one.status < 400 ? "good" : "bad" }, one.node || "–", one.seconds.toFixed(2), one.input_tokens, one.output_tokens]));
  offer(state.models);
}

function viewerText(viewer) {
  if (!key) return "";
  return viewer.operator ? `${viewer.key}, an operator's key` : viewer.key;
}

function whose(viewer) {
  if (viewer.operator) return "";
  return viewer.key ? `Requests of the key ${viewer.key}. An operator's key sees those of all.` : "Requests are shown with a key only.";
}

function badgeState(text, kind) {
  const badge = byId("state");
  badge.className = `badge ${kind}`;
  put(badge, text);
}

function complain(text) {
  const problem = byId("problem");
  problem.hidden = !text;
  put(problem, text);
}

async function failureOf(response) {
  const text = await response.text();
  try {
    const said = JSON.parse(text).error;
    return typeof said === "string" ? said : said.message || text;
  } catch {
    return text.slice(0, 500) || `The gateway answers with status ${response.status}`;
  }
}

async function look() {
  clearTimeout(timer);
  if (asking) asking.abort();
  const mine = (asking = new AbortController());
  const alarm = setTimeout(() => mine.abort(), PATIENCE);
  let pause = PAUSE;
  try {
    const response = await fetch("page/state", { headers: headers(), signal: mine.signal, cache: "no-store" });
    byId("forget").hidden = !key;
    if (response.ok) {
      show(await response.json());
      complain("");
    } else if (response.status === 401 || response.status === 403) {
      pause = 0;
      badgeState("Locked", "");
      const said = await failureOf(response);
      complain(key ? said : "");
      put(byId("viewer"), key ? "" : "The state of the fleet is shown with a key.");
      if (!key) byId("key").focus();
    } else {
      throw new Error(await failureOf(response));
    }
  } catch (error) {
    if (mine !== asking) return; // a newer look has taken its place
    pause = PAUSE_AFTER_FAILURE;
    badgeState("No answer", "bad");
    const when = new Date().toLocaleTimeString();
    complain(`${when}: the gateway does not answer (${error.message}). What is shown is older.`);
  } finally {
    clearTimeout(alarm);
  }
  if (mine === asking && pause && !document.hidden) timer = setTimeout(look, pause);
}

// Trying a model

function offer(models) {
  const select = byId("model");
  const names = models.filter((model) => model.calls.some((call) => call !== "embed")).map((model) => model.name);
  const calls = new Map(models.map((model) => [model.name, model.calls]));
  const known = [...select.options].map((option) => option.value);
  if (JSON.stringify(names) !== JSON.stringify(known)) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => {
      const option = document.createElement("option");
      option.value = option.textContent = name;
      return option;
    }));
    if (names.includes(chosen)) select.value = chosen;
  }
  for (const option of select.options) option.dataset.path = pathFor(calls.get(option.value));
  offerButtons();
}

// A button that is disabled loses the focus, and with it whoever uses the keyboard: these only say that they do nothing.
function offerButtons() {
  byId("send").setAttribute("aria-disabled", String(Boolean(trying) || byId("model").options.length === 0));
  byId("stop").setAttribute("aria-disabled", String(!trying));
}

function pathFor(calls) {
  const onlyGenerates = calls.includes("generate") && !calls.some((call) => call !== "generate" && call !== "embed");
  return onlyGenerates ? "api/generate" : "api/chat";
}

async function tryModel(event) {
  event.preventDefault();
  const option = byId("model").selectedOptions[0];
  const prompt = byId("prompt").value.trim() || byId("prompt").placeholder;
  if (!option || trying) return;
  trying = new AbortController();
  offerButtons();
  const answer = byId("answer");
  answer.hidden = false;
  answer.textContent = "";
  answer.setAttribute("aria-busy", "true");
  put(byId("answer-details"), "waits for its turn …");
  const began = performance.now();
  let first = 0;
  try {
    const path = option.dataset.path;
    const asked = path === "api/chat" ? { messages: [{ role: "user", content: prompt }] } : { prompt };
    const response = await fetch(path, {
      method: "POST",
      headers: headers({ "Content-Type": "application/json" }),
      body: JSON.stringify({ model: option.value, stream: true, ...asked }),
      signal: trying.signal,
    });
    if (!response.ok) throw new Error(await failureOf(response));
    for await (const piece of linesOf(response.body)) {
      if (piece.error) throw new Error(piece.error);
      const text = (piece.message ? (piece.message.thinking || "") + piece.message.content : piece.response) || "";
      if (text && !first) first = performance.now();
      answer.append(text);
      answer.scrollTop = answer.scrollHeight;
      if (piece.done) put(byId("answer-details"), summary(piece, began, first));
    }
  } catch (error) {
    put(byId("answer-details"), error.name === "AbortError" ? "stopped" : `failed: ${error.message}`);
  } finally {
    trying = null;
    offerButtons();
    answer.setAttribute("aria-busy", "false");
  }
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value || "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) return;
  }
}

function summary(piece, began, first) {
  const now = performance.now();
  const words = [`${((now - began) / 1000).toFixed(2)} s`];
  if (first) words.push(`first token after ${((first - began) / 1000).toFixed(2)} s`);
  if (piece.eval_count) words.push(`${piece.prompt_eval_count || 0} tokens in, ${piece.eval_count} out`);
  return words.join(", ");
}

// What people do

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value.trim();
  byId("key").value = "";
  if (key) sessionStorage.setItem("key", key);
  look();
});

byId("forget").addEventListener("click", () => {
  key = "";
  sessionStorage.removeItem("key");
  // What was shown belongs to the key.
  location.reload();
});

byId("try-form").addEventListener("submit", tryModel);
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) tryModel(event);
});
byId("stop").addEventListener("click", () => trying && trying.abort());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

look();
