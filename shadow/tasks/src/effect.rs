//! Whether a tool reads or acts, guessed from its name and description. A task
//! whose replies may call an acting tool waits for a person before canary, so
//! anything unsure acts. A reading tool that is taken for an acting one costs a
//! person's look, and `worker.reading_tools` names it for good; the other mistake
//! could do something twice that nobody asked for.

use understudy_call::Tool;

/// What calling a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It looks something up.
    Reads,
    /// It changes something, or may.
    Acts,
}

/// Verbs with which reading tools begin. Those that read in one program and act
/// in the next ("resolve_host" and "resolve_ticket", "select_rows" and
/// "select_seat", "load_page" and "load_wallet") are not among them.
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
    "peek",
    "locate",
];

/// Words that act wherever they stand in a name; the rest of [`ACTING`] are
/// nouns as well ("lookup_order", "get_email").
const ACTING_ANYWHERE: &[&str] = &[
    "set", "create", "update", "delete", "remove", "insert", "write", "send", "cancel", "pay", "modify",
    "edit", "submit", "approve", "execute", "deploy", "publish", "upload", "purge", "revoke", "drop",
];

/// Verbs that act at the head of a description.
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

/// Words that make "check" act: a passenger is checked in, a basket checked out,
/// a task checked off. "check_in_stock" then acts too, which is the safe mistake.
const AFTER_CHECK: &[&str] = &["in", "out", "off"];

/// Words that join a second verb to the first ("find_and_replace"), or a noun to
/// another ("get_terms_and_conditions"). No list holds all verbs, so what follows
/// is taken for one, and acts unless it is known to read.
const JOINING: &[&str] = &["and", "or", "then"];

/// Whether the tool reads or acts: it reads only if its name begins with a
/// reading verb, goes on with one after a joining word, no word of it acts, and
/// its description does not open with an acting verb.
#[must_use]
pub fn reads_or_acts(tool: &Tool) -> Effect {
    let words = words(&tool.name);
    let name_reads = words.split(|w| JOINING.contains(&w.as_str())).all(part_reads);
    let description_acts = tool
        .description
        .as_deref()
        .and_then(|d| d.split(|c: char| !c.is_alphabetic()).find(|w| !w.is_empty()))
        .is_some_and(|w| verb_in(&w.to_lowercase(), ACTING));
    if name_reads && !description_acts { Effect::Reads } else { Effect::Acts }
}

/// Whether a verb and what follows it read; nothing at all does not.
fn part_reads(part: &[String]) -> bool {
    let Some((verb, rest)) = part.split_first() else { return false };
    let checks_in = verb == "check" && rest.first().is_some_and(|w| AFTER_CHECK.contains(&w.as_str()));
    let acts = checks_in || rest.iter().any(|w| verb_in(w, ACTING_ANYWHERE));
    READING.contains(&verb.as_str()) && !acts
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
