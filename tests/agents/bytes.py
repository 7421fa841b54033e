"""An agent on the official OpenAI SDK that prints what it receives, byte by byte.

It knows nothing of Understudy: it takes its base URL and key from the
environment as the SDK does. Run with and without the proxy, its output must be
the same.
"""
import hashlib

import openai

TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_order_status",
        "description": "Looks up an order.",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}]


def calls():
    yield dict(messages=[{"role": "system", "content": "You are the triage desk."},
                         {"role": "user", "content": "I was charged twice on my card."}])
    yield dict(messages=[{"role": "system", "content": "You work at the order desk."},
                         {"role": "user", "content": "Where is A-1043?"}], tools=TOOLS)
    yield dict(messages=[{"role": "user", "content": "Think: 17 apples, 25 pears, 4 people. Ünïcode, 日本語."}])
    yield dict(messages=[{"role": "user", "content": [{"type": "text", "text": "Parts 1 2 3"}]}], temperature=0.3)


def main():
    client = openai.OpenAI(max_retries=0)
    for n, body in enumerate(calls()):
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", **body)
        content = raw.http_response.content
        print(n, "whole", raw.status_code, raw.headers["content-type"], raw.headers.get("x-request-id"),
              len(content), hashlib.sha256(content).hexdigest())
        for options in ({}, {"stream_options": {"include_usage": True}}):
            with client.chat.completions.with_streaming_response.create(
                    model="gpt-4o-mini", stream=True, **options, **body) as stream:
                content = b"".join(stream.iter_bytes())
            print(n, "stream", stream.status_code, len(content), hashlib.sha256(content).hexdigest())
            text = ""
            for chunk in client.chat.completions.create(model="gpt-4o-mini", stream=True, **options, **body):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    for tool in choice.delta.tool_calls or []:
                        text += (tool.function.name or "") + (tool.function.arguments or "")
            print(n, "parsed", text)
    try:
        openai.OpenAI(api_key="wrong", max_retries=0).chat.completions.create(model="m", messages=[])
    except openai.AuthenticationError as e:
        print("error", e.status_code, e.body)
    print("models", [m.id for m in client.models.list()])


if __name__ == "__main__":
    main()
