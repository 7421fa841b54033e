// The same as bytes.py, on the official SDK for Node.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(process.env.UNDERSTUDY_NODE_MODULES + "/");
const OpenAI = require("openai").default ?? require("openai");

const tools = [{
  type: "function",
  function: {
    name: "get_order_status", description: "Looks up an order.",
    parameters: { type: "object", properties: { order_id: { type: "string" } }, required: ["order_id"] },
  },
}];
const calls = [
  { messages: [{ role: "system", content: "You are the triage desk." },
               { role: "user", content: "I was charged twice on my card." }] },
  { messages: [{ role: "system", content: "You work at the order desk." },
               { role: "user", content: "Where is A-1043?" }], tools },
  { messages: [{ role: "user", content: "Think: 17 apples, 25 pears, 4 people. Ünïcode, 日本語." }] },
];
const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");

const client = new OpenAI({ maxRetries: 0 });
for (const [n, body] of calls.entries()) {
  const whole = await client.chat.completions.create({ model: "gpt-4o-mini", ...body }).asResponse();
  const content = Buffer.from(await whole.arrayBuffer());
  console.log(n, "whole", whole.status, whole.headers.get("content-type"), content.length, sha(content));
  const raw = await client.chat.completions.create({ model: "gpt-4o-mini", stream: true, ...body }).asResponse();
  const bytes = Buffer.from(await raw.arrayBuffer());
  console.log(n, "stream", raw.status, bytes.length, sha(bytes));
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model: "gpt-4o-mini", stream: true, ...body })) {
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      for (const tool of choice.delta.tool_calls ?? []) {
        text += (tool.function.name ?? "") + (tool.function.arguments ?? "");
      }
    }
  }
  console.log(n, "parsed", text);
}
