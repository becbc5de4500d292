// Makes the calls of the shared list with the official npm client; prints one line of JSON for each.
//
//     node run_openai.mjs ADDRESS KEY < calls.json
//
// The lines are those of run_openai.py.

import { readFileSync } from "node:fs";
import OpenAI, { OpenAIError } from "openai";

async function call(client, asked, earlier) {
  const path = asked.method.split(".");
  const method = path.pop();
  const resource = path.reduce((parent, name) => parent[name], client);
  let given = asked.arguments ?? {};
  const options = { headers: asked.headers };
  if (typeof given === "string") return read(resource[method](given, options));
  given = { ...given, ...asked.extra };
  if (asked.after) given.messages = [...given.messages, ...called(earlier[asked.after], asked.result)];
  if (method === "stream") return { reply: await resource.stream(given, options).finalChatCompletion(), receipts: null };
  return read(method === "list" ? resource.list(options) : resource[method](given, options));
}

// The model's calls as the client gave them, and the same result for each.
function called(message, result) {
  const results = message.tool_calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: result }));
  return [message, ...results];
}

async function read(promise) {
  const { data, response } = await promise.withResponse();
  const receipts = response.headers.get("x-verity-receipt");
  if (!data[Symbol.asyncIterator] || data.data) return { reply: data, receipts };
  const chunks = [];
  for await (const chunk of data) chunks.push(chunk);
  return { chunks, receipts };
}

function told(error) {
  const { status, code, param, type, message } = error;
  return { error: { class: error.constructor.name, status, code, param, type, message } };
}

const [address, key] = process.argv.slice(2);
const earlier = {};
for (const asked of JSON.parse(readFileSync(0, "utf-8")).calls) {
  const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: asked.key ?? key, maxRetries: 0 });
  let line;
  try {
    line = await call(client, asked, earlier);
  } catch (error) {
    if (!(error instanceof OpenAIError)) throw error;
    line = told(error);
  }
  earlier[asked.name] = line.reply?.choices?.[0]?.message;
  const { body, options, response, ...rest } = line.reply ?? {}; // a page of a list has the client in it
  if (line.reply && line.reply.object === "list" && Array.isArray(rest.data)) line.reply = rest;
  console.log(JSON.stringify({ name: asked.name, ...line }));
}
