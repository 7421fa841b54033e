"""A help desk's agent on the official OpenAI SDK, unchanged by Understudy.

Four kinds of calls: a routine look-up by tool, a JSON extraction, a tool that
acts, and open reasoning; a fifth, a look-up whose arguments have a form of their
own, only when it is asked for. It takes its base URL and key from the environment, as
the SDK does. Its questions are generated from a seed.

usage: desk.py [--calls N] [--seed S] [--only KIND] [--workers W] [--forever]

The SDK tries a call that was refused twice more and says nothing. With DESK_STRICT in
the environment one call goes before all others and is tried once, and what came of it
is printed.
"""
import argparse
import os
import random
from concurrent.futures import ThreadPoolExecutor

import openai


def tool(name, description):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}},
                       "required": ["order_id"], "additionalProperties": False}}}


LOOK_UP = dict(
    system="You work at the order desk. Find out what the customer wants and look it up with one tool.",
    tools=[tool("get_order_status", "Looks up where an order is."),
           tool("get_invoice", "Gets the invoice of an order."),
           tool("get_return_policy", "Gets how an order can be returned.")])
TRIAGE = dict(system='You are the triage desk. Reply with JSON only: {"queue": NAME}. '
                     "Queues: billing, delivery, access, product.",
              response_format={"type": "json_object"})
REFUND = dict(system="You handle refund requests. Issue the refund that the customer is entitled to.",
              tools=[tool("issue_refund", "Refunds an order in full.")])
TABLE = dict(system="You take table bookings. Find a free table with the tool.",
             tools=[{"type": "function", "function": {
                 "name": "find_table", "description": "Finds free tables.", "parameters": {
                     "type": "object", "properties": {
                         "people": {"type": "integer"}, "day": {"type": "string"}, "at": {"type": "string"}},
                     "required": ["people", "day", "at"], "additionalProperties": False}}}])
REASON = dict(system="You are a careful planner. Think the question through and answer in full sentences.")

STATUS = ["Where is my order {id}?", "Any news on {id}?", "When will {id} get here?", "Has {id} been sent yet?",
          "Can you tell me the status of {id}, please?", "I am still waiting for {id}."]
INVOICE = ["Please send me the invoice for {id}.", "I need the bill of {id}.", "Could I have an invoice for order {id}?"]
RETURN = ["How do I return {id}?", "I don't like {id}, can I send it back?", "What is the return period for {id}?"]
TICKETS = {
    "billing": ["I was charged twice for my {thing}.", "The payment for the {thing} failed but money is gone.",
                "My card was declined when I bought the {thing}.", "There is a mistake on the invoice for my {thing}."],
    "delivery": ["The parcel with my {thing} never arrived.", "The courier left the {thing} at the wrong house.",
                 "Shipping of the {thing} takes too long.", "When do you deliver the {thing}?"],
    "access": ["I forgot my password and want to see my {thing}.", "I can't log in to register the {thing}.",
               "My account is locked since I ordered the {thing}.", "Two-factor codes for the {thing} app do not come."],
    "product": ["The {thing} makes a strange noise.", "How do I clean the {thing}?",
                "The {thing} stopped working after a week.", "Does the {thing} come in blue?"],
}
TABLES = ["A table for {people} on {day} at {time}, please.", "Could we come on {day} at {time}? We are {people}.",
          "Is there room for {people} of us on {day} at {time}?",
          "We would like to eat at {time} on {day}, {people} people.", "{day} at {time}, for {people}. Is that possible?",
          "Do you have something for {people} people {day} at {time}?"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
TIMES = ["{hour}", "half past {hour}", "a quarter past {hour}", "a quarter to {hour}"]
THINGS = ["kettle", "lamp", "headset", "bicycle", "toaster", "printer", "backpack", "clock", "heater", "drill", "fan",
          "tent", "camera", "mixer", "chair", "desk", "monitor", "speaker", "razor", "scale"]
TAILS = ["", " Thanks!", " Please help.", " It is urgent.", " Kind regards", " I look forward to your answer."]


def question(kind, rng):
    order = f"A-{rng.randint(1000, 9999)}"
    if kind == "look-up":
        return LOOK_UP, rng.choice(rng.choices([STATUS, INVOICE, RETURN], [6, 2, 2])[0]).format(id=order)
    if kind == "triage":
        text = rng.choice(TICKETS[rng.choice(list(TICKETS))]).format(thing=rng.choice(THINGS))
        return TRIAGE, text + rng.choice(TAILS)
    if kind == "refund":
        return REFUND, f"The {rng.choice(THINGS)} from order {order} arrived broken, I want my money back."
    if kind == "table":
        time = rng.choice(TIMES).format(hour=rng.choice(NUMBERS[5:9]))
        return TABLE, rng.choice(TABLES).format(people=rng.choice(NUMBERS[1:]), day=rng.choice(DAYS), time=time)
    return REASON, (f"We have {rng.randint(10, 99)} {rng.choice(THINGS)}s and {rng.randint(10, 99)} spare parts for "
                    f"{rng.randint(3, 9)} shops. How should we share them, and how many rounds do we need?")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["look-up", "triage", "refund", "table", "reason"])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--forever", action="store_true", help="goes on with the next seed")
    args = parser.parse_args()

    kinds = [args.only] if args.only else ["look-up"] * 3 + ["triage"] * 3 + ["refund"] * 3 + ["reason"]
    client = openai.OpenAI()

    def ask(item, client=client):
        task, text = item
        extra = {k: v for k, v in task.items() if k != "system"}
        reply = client.chat.completions.create(
            model="gpt-4o-mini", temperature=0,
            messages=[{"role": "system", "content": task["system"]}, {"role": "user", "content": text}], **extra)
        message = reply.choices[0].message
        return bool(message.tool_calls or message.content)

    if os.environ.get("DESK_STRICT"):
        try:
            ask(question(kinds[0], random.Random(args.seed)), client.with_options(max_retries=0))
            print("the first call was answered", flush=True)
        except openai.OpenAIError as e:
            # It goes on, as with the SDK's own retries: what it printed is found in its log.
            print(f"Error: the first call failed: {e!r}", flush=True)

    seed = args.seed
    while True:
        rng = random.Random(seed)
        questions = [question(rng.choice(kinds), rng) for _ in range(args.calls)]
        with ThreadPoolExecutor(args.workers) as pool:
            answered = sum(pool.map(ask, questions))
        print(f"{answered} of {len(questions)} questions answered", flush=True)
        if not args.forever:
            break
        seed += 1


if __name__ == "__main__":
    main()
