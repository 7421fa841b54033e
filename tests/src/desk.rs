//! A help desk's questions, generated: as many different ones as a test wants,
//! the same ones every time.

use serde_json::{Value, json};

const TICKETS: [&str; 16] = [
    "I was charged twice for my {thing}.",
    "The parcel with my {thing} never arrived.",
    "I forgot my password and want to see my {thing}.",
    "The {thing} makes a strange noise.",
    "The payment for the {thing} failed but money is gone.",
    "The courier left the {thing} at the wrong house.",
    "I can't log in to register the {thing}.",
    "How do I clean the {thing}?",
    "My card was declined when I bought the {thing}.",
    "Shipping of the {thing} takes too long.",
    "My account is locked since I ordered the {thing}.",
    "The {thing} stopped working after a week.",
    "There is a mistake on the invoice for my {thing}.",
    "When do you deliver the {thing}?",
    "Two-factor codes for the {thing} app do not come.",
    "Does the {thing} come in blue?",
];
const THINGS: [&str; 40] = [
    "kettle",
    "lamp",
    "headset",
    "bicycle",
    "toaster",
    "printer",
    "backpack",
    "clock",
    "heater",
    "drill",
    "fan",
    "tent",
    "camera",
    "mixer",
    "chair",
    "desk",
    "monitor",
    "speaker",
    "razor",
    "scale",
    "blender",
    "ladder",
    "mirror",
    "piano",
    "radio",
    "scooter",
    "sofa",
    "stove",
    "tablet",
    "telescope",
    "tripod",
    "umbrella",
    "vacuum",
    "wallet",
    "watch",
    "whistle",
    "window",
    "wrench",
    "pillow",
    "bottle",
];
const TAILS: [&str; 7] = [
    "",
    " Thanks!",
    " Please help.",
    " It is urgent.",
    " Kind regards",
    " I look forward to your answer.",
    " Hello.",
];

/// For load that lasts: a ticket that was seen today is no evidence again.
const COLOURS: [&str; 32] = [
    "",
    "red ",
    "blue ",
    "green ",
    "black ",
    "white ",
    "yellow ",
    "orange ",
    "purple ",
    "pink ",
    "brown ",
    "grey ",
    "beige ",
    "silver ",
    "golden ",
    "olive ",
    "navy ",
    "teal ",
    "maroon ",
    "ivory ",
    "amber ",
    "crimson ",
    "violet ",
    "indigo ",
    "coral ",
    "turquoise ",
    "lilac ",
    "khaki ",
    "copper ",
    "scarlet ",
    "mint ",
    "cream ",
];

/// How many triage tickets there are before colours come in, which make each
/// of them thirty-two.
pub const TRIAGE: usize = TICKETS.len() * THINGS.len() * TAILS.len();

/// The n-th triage ticket. Neighbours differ in everything but the colour.
#[must_use]
pub fn triage(n: usize) -> Value {
    // A stride without a common factor visits every ticket once.
    let colour = COLOURS[n / TRIAGE % COLOURS.len()];
    let n = (n * 1_009) % TRIAGE;
    let thing = format!("{colour}{}", THINGS[n / TICKETS.len() % THINGS.len()]);
    let text = TICKETS[n % TICKETS.len()].replace("{thing}", &thing);
    let tail = TAILS[n / TICKETS.len() / THINGS.len()];
    json!({"model": "gpt-4o-mini", "temperature": 0, "response_format": {"type": "json_object"}, "messages": [
        {"role": "system", "content": "You are the triage desk. Reply with JSON only: {\"queue\": NAME}. \
            Queues: billing, delivery, access, product."},
        {"role": "user", "content": format!("{text}{tail}")}]})
}

/// What stands between rules and ticket where one message has both.
pub const TICKET: &str = "\n\nTicket: ";

/// The n-th triage ticket from an agent without a system text.
#[must_use]
pub fn triage_in_a_message(n: usize) -> Value {
    let request = triage(n);
    let [rules, ticket] = [0, 1].map(|at| request["messages"][at]["content"].as_str().unwrap_or_default());
    let messages = json!([{"role": "user", "content": format!("{rules}{TICKET}{ticket}")}]);
    with(request, "messages", messages)
}

const LOOK_UPS: [&str; 12] = [
    "Where is my order {id}?",
    "Any news on {id}?",
    "Please send me the invoice for {id}.",
    "When will {id} get here?",
    "How do I return {id}?",
    "Has {id} been sent yet?",
    "I need the bill of {id}.",
    "Can you tell me the status of {id}, please?",
    "I don't like {id}, can I send it back?",
    "I am still waiting for {id}.",
    "Could I have an invoice for order {id}?",
    "What is the return period for {id}?",
];

/// The n-th question for one of three tools, about an order of its own.
#[must_use]
pub fn look_up(n: usize) -> Value {
    let tool = |name: &str, description: &str| {
        json!({"type": "function", "function": {"name": name, "description": description, "parameters":
            {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}}})
    };
    let id = format!("A-{}", 1_000 + n * 7_919 % 9_000);
    let text = LOOK_UPS[n % LOOK_UPS.len()].replace("{id}", &id);
    json!({"model": "gpt-4o-mini", "temperature": 0, "tools": [
        tool("get_order_status", "Looks up where an order is."),
        tool("get_invoice", "Gets the invoice of an order."),
        tool("get_return_policy", "Gets how an order can be returned.")],
        "messages": [
        {"role": "system", "content": "You work at the order desk. Find out what the customer wants and look it up with one tool."},
        {"role": "user", "content": text}]})
}

/// The n-th question that is a different open text every time.
#[must_use]
pub fn reason(n: usize) -> Value {
    json!({"model": "gpt-4o-mini", "temperature": 0, "messages": [
        {"role": "system", "content": "You are a careful planner. Think the question through and answer in full sentences."},
        {"role": "user", "content": format!(
            "We have {} {}s and {} spare parts for {} shops. How should we share them, and how many rounds do we need?",
            10 + n * 7 % 90, THINGS[n % THINGS.len()], 10 + n * 11 % 90, 3 + n % 7)}]})
}

/// The n-th question that is answered by a text that nobody else gets.
#[must_use]
pub fn own_words(n: usize) -> Value {
    json!({"model": "gpt-4o-mini", "temperature": 0, "messages": [
        {"role": "system", "content": "Describe what you are shown in your own words."},
        {"role": "user", "content": format!("Picture {n}: a {} on a table.", THINGS[n % THINGS.len()])}]})
}

/// The same request with something else in it.
#[must_use]
pub fn with(mut request: Value, key: &str, value: Value) -> Value {
    request[key] = value;
    request
}
