//! Tool calls agree when they would do the same.

use serde_json::{Map, Value};
use understudy_call::{Tool, ToolCall};

use super::exact::is_exact;
use super::json::scalar;
use super::text::is_operator;
use super::{Difference, Score, Tally};

/// Compares two sets of calls, in any order.
pub(super) fn compare(tools: &[Tool], wanted: &[ToolCall], given: &[ToolCall]) -> Score {
    let mut names: Vec<&str> = wanted.iter().map(|c| c.name.as_str()).collect();
    let mut other: Vec<&str> = given.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    other.sort_unstable();
    let name_agrees = Some(names == other);

    let mut left: Vec<&ToolCall> = given.iter().collect();
    let mut tally = Tally::new();
    // The calls that agree are paired first, so that the order of the rest
    // cannot cost an agreeing call its partner.
    let mut unmatched = Vec::new();
    for call in wanted {
        let agreeing = left.iter().position(|g| one(tools, call, g).first == Difference::None);
        match agreeing {
            Some(i) => tally.add(one(tools, call, left.swap_remove(i))),
            None => unmatched.push(call),
        }
    }
    for call in unmatched {
        let same_name = left.iter().position(|g| g.name == call.name);
        match same_name.or_else(|| (!left.is_empty()).then_some(0)) {
            Some(i) => tally.add(one(tools, call, left.swap_remove(i))),
            None => tally.differs(Difference::CallCount),
        }
    }
    for _ in left {
        tally.differs(Difference::CallCount);
    }
    tally.score(name_agrees)
}

fn one(tools: &[Tool], wanted: &ToolCall, given: &ToolCall) -> Tally {
    let mut tally = Tally::new();
    if wanted.name != given.name {
        tally.differs(Difference::ToolName);
        return tally;
    }
    tally.matched();
    let schema = tools.iter().find(|t| t.name == wanted.name).map(|t| &t.parameters);
    match (arguments(&wanted.arguments), arguments(&given.arguments)) {
        (Some(w), Some(g)) => tally.add(object(schema, &w, &g)),
        // The provider wrote arguments that are not JSON: only the same text agrees.
        (None, _) if wanted.arguments == given.arguments => tally.matched(),
        _ => tally.differs(Difference::NotJson),
    }
    tally
}

/// The arguments as an object; none at all is an empty one.
fn arguments(text: &str) -> Option<Map<String, Value>> {
    if text.trim().is_empty() {
        return Some(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

fn object(schema: Option<&Value>, wanted: &Map<String, Value>, given: &Map<String, Value>) -> Tally {
    let mut tally = Tally::new();
    let property = |key: &str| schema.and_then(|s| s.get("properties")).and_then(|p| p.get(key));
    for (key, value) in wanted {
        let inner = property(key);
        match given.get(key) {
            Some(other) => tally.add(value_of(Some(key), inner, value, other)),
            None if is_default(inner, value) => tally.matched(),
            None => tally.differs(Difference::MissingArgument),
        }
    }
    for (key, value) in given.iter().filter(|(k, _)| !wanted.contains_key(*k)) {
        if is_default(property(key), value) {
            tally.matched();
        } else {
            tally.differs(Difference::UnexpectedArgument);
        }
    }
    tally
}

/// Leaving an optional argument out says its default.
fn is_default(schema: Option<&Value>, value: &Value) -> bool {
    schema.and_then(|s| s.get("default")).is_some_and(|d| d == value)
}

fn value_of(key: Option<&str>, schema: Option<&Value>, wanted: &Value, given: &Value) -> Tally {
    let mut tally = Tally::new();
    match (wanted, given) {
        (Value::Object(w), Value::Object(g)) => return object(schema, w, g),
        (Value::Array(w), Value::Array(g)) => {
            if w.len() != g.len() {
                tally.differs(Difference::Value);
                return tally;
            }
            let items = schema.and_then(|s| s.get("items"));
            for (a, b) in w.iter().zip(g) {
                tally.add(value_of(key, items, a, b));
            }
            if w.is_empty() {
                tally.matched();
            }
        }
        (Value::String(w), Value::String(g)) => {
            let exact = |s: &str| is_exact(key, schema, s) || reckons(s);
            let agrees = if has_lines(w) || has_lines(g) {
                same_lines(w, g)
            } else {
                w == g || (!exact(w) && !exact(g) && alike(w, g))
            };
            tally.judge(agrees, Difference::Value);
        }
        _ => return scalar(wanted, given),
    }
    tally
}

/// Whether the text relates or reckons: `a * b` is not `a ^ b`, nor `N > n` `n > n`.
/// A plus or a hyphen may belong to a name, and stays what it is there.
fn reckons(text: &str) -> bool {
    text.chars().any(|c| is_operator(c) && !matches!(c, '+' | '-'))
}

/// Whether a text is of several lines: a script, a file, a list. There a line's end and
/// its indentation mean something.
fn has_lines(text: &str) -> bool {
    text.trim().contains('\n')
}

/// The same but for what no reader sees: white space at the ends of lines and around all.
fn same_lines(wanted: &str, given: &str) -> bool {
    fn lines(text: &str) -> impl Iterator<Item = &str> {
        text.trim_matches('\n').trim_end().lines().map(str::trim_end)
    }
    lines(wanted).eq(lines(given))
}

/// Whether two texts are the same loosely. Where nothing is left, they differ in
/// what is left out.
fn alike(wanted: &str, given: &str) -> bool {
    let wanted = loosely(wanted);
    !wanted.is_empty() && wanted == loosely(given)
}

/// A loose form after BFCL's: without spaces, commas, stops and hyphens, in lower
/// case, `'` as `"`. BFCL also leaves out `*`, `^` and every hyphen and stop, which
/// would make `a - b` of `a b` and `notes.txt` of `notestxt`: here a hyphen goes only
/// within a name, and a stop only at the end and within an abbreviation.
fn loosely(s: &str) -> String {
    s.split_whitespace()
        .flat_map(loose_word)
        .flat_map(char::to_lowercase)
        .map(|c| if c == '\'' { '"' } else { c })
        .collect()
}

fn loose_word(word: &str) -> impl Iterator<Item = char> {
    let ended = word.trim_end_matches(['.', ',']);
    let word = if ended.is_empty() { word } else { ended };
    word.char_indices().filter_map(move |(i, c)| {
        let (before, after) = word.split_at(i);
        let around = || (letters(before.chars().rev()), letters(after.chars().skip(1)));
        let is_left_out = match c {
            ',' => true,
            '.' => around() == (1, 1),
            '-' => matches!(around(), (1.., 2..) | (2.., 1..)),
            _ => false,
        };
        (!is_left_out).then_some(c)
    })
}

fn letters(of: impl Iterator<Item = char>) -> usize {
    of.take_while(|c| c.is_alphanumeric()).count()
}
