//! Whether a tool reads or acts, guessed from its name and description. A task
//! whose replies may call an acting tool waits for a person before canary, so
//! anything unsure acts.

use understudy_call::Tool;

/// What calling a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It looks something up.
    Reads,
    /// It changes something, or may.
    Acts,
}

/// Verbs with which reading tools begin.
const READING: &[&str] = &[
    "get",
    "list",
    "search",
    "find",
    "lookup",
    "look",
    "read",
    "fetch",
    "check",
    "query",
    "describe",
    "show",
    "view",
    "count",
    "calculate",
    "compute",
    "retrieve",
    "think",
    "browse",
    "inspect",
    "explain",
    "summarize",
    "summarise",
    "classify",
    "detect",
    "extract",
    "translate",
    "convert",
    "compare",
    "validate",
    "verify",
    "estimate",
    "quote",
    "resolve",
    "select",
    "load",
    "peek",
    "locate",
];

/// Words that act wherever they stand in a name; the rest of [`ACTING`] are
/// nouns as well ("lookup_order", "get_email").
const ACTING_ANYWHERE: &[&str] = &[
    "set", "create", "update", "delete", "remove", "insert", "write", "send", "cancel", "pay", "modify",
    "edit", "submit", "approve", "execute", "deploy", "publish", "upload", "purge", "revoke", "drop",
];

/// Verbs that act at the head of a name or a description, and after "and" or "or".
const ACTING: &[&str] = &[
    "set",
    "create",
    "update",
    "delete",
    "remove",
    "add",
    "insert",
    "write",
    "send",
    "post",
    "put",
    "book",
    "cancel",
    "pay",
    "refund",
    "transfer",
    "order",
    "buy",
    "sell",
    "modify",
    "change",
    "edit",
    "submit",
    "approve",
    "reject",
    "execute",
    "run",
    "start",
    "stop",
    "restart",
    "deploy",
    "publish",
    "upload",
    "move",
    "rename",
    "schedule",
    "reserve",
    "charge",
    "grant",
    "revoke",
    "reset",
    "open",
    "close",
    "play",
    "call",
    "email",
    "notify",
    "rate",
    "save",
    "store",
    "register",
    "subscribe",
    "unsubscribe",
    "enable",
    "disable",
    "install",
    "patch",
    "merge",
    "commit",
    "push",
    "drop",
    "purge",
];

/// Whether the tool reads or acts: it reads only if its name begins with a
/// reading verb, no word of its name acts, and its description does not open
/// with an acting verb.
#[must_use]
pub fn reads_or_acts(tool: &Tool) -> Effect {
    let words = words(&tool.name);
    let Some(first) = words.first() else {
        return Effect::Acts;
    };
    let later_word_acts = words.windows(2).any(|pair| match pair {
        [before, word] => {
            verb_in(word, ACTING_ANYWHERE)
                || (matches!(before.as_str(), "and" | "or") && verb_in(word, ACTING))
        }
        _ => false,
    });
    let name_reads = READING.contains(&first.as_str()) && !later_word_acts;
    let description_acts = tool
        .description
        .as_deref()
        .and_then(|d| d.split(|c: char| !c.is_alphabetic()).find(|w| !w.is_empty()))
        .is_some_and(|w| verb_in(&w.to_lowercase(), ACTING));
    if name_reads && !description_acts { Effect::Reads } else { Effect::Acts }
}

/// A verb, or its third person ("Sends").
fn verb_in(word: &str, verbs: &[&str]) -> bool {
    verbs.contains(&word) || word.strip_suffix('s').is_some_and(|stem| verbs.contains(&stem))
}

/// The words of a name in snake, kebab or camel case, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        let ends = !c.is_alphanumeric() || (c.is_uppercase() && was_lower);
        if ends && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        was_lower = c.is_lowercase();
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
