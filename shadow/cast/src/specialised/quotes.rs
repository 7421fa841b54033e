//! Arguments that are always quoted.
//!
//! Where a task's exchanges show that an argument's value stands in the part each
//! time, a reservation's number say, a value that stands nowhere in it is one that
//! the model made up. Where no two such values ever share a place, a reply in which
//! two of them do has said the same words twice. Both are declined, whatever the
//! log-probabilities: a small model is often sure of a word that it adds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use understudy_call::{Choice, ConversationKey};

use crate::example::{Example, spoken};

/// Conversations in which something must have been so, and never otherwise, before
/// it is expected of a reply: at most one in seventeen is then otherwise (with 95 %
/// confidence), and the development rows, which are judged with this, count those.
const SEEN: usize = 50;

/// What is always quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotes {
    /// Of each tool (empty for a reply in JSON) the arguments whose values all stand
    /// in the part, as paths in which `*` is any place of a list.
    arguments: BTreeMap<String, BTreeSet<String>>,
    /// No two of them share a place in it.
    apart: bool,
}

impl Quotes {
    /// What some exchanges always quote.
    #[must_use]
    pub fn of(examples: &[&Example]) -> Self {
        let mut counts: BTreeMap<(String, String), Seen> = BTreeMap::new();
        for e in examples {
            for value in values(&e.reply) {
                let quoted = e.part_text.contains(&value.text);
                counts.entry((value.tool, value.path)).or_default().note(e, quoted);
            }
        }
        let mut quotes = Self::default();
        for ((tool, path), seen) in counts {
            if seen.is_always_so() {
                quotes.arguments.entry(tool).or_default().insert(path);
            }
        }
        let mut apart = Seen::default();
        for e in examples {
            let texts = quotes.texts(&e.reply);
            if texts.len() > 1 {
                apart.note(e, lie_apart(&e.part_text, texts));
            }
        }
        quotes.apart = apart.is_always_so();
        quotes
    }

    /// Whether nothing is known to be quoted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// Whether a reply to a part quotes what its task always quotes.
    #[must_use]
    pub fn are_kept(&self, part: &str, reply: &Choice) -> bool {
        let texts = self.texts(reply);
        texts.iter().all(|t| part.contains(t.as_str())) && (!self.apart || lie_apart(part, texts))
    }

    fn texts(&self, reply: &Choice) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let quoted = |v: &Quotable| self.arguments.get(&v.tool).is_some_and(|paths| paths.contains(&v.path));
        values(reply).into_iter().filter(quoted).map(|v| v.text).collect()
    }
}

/// Where something was so, and whether it ever was not. A list of many values, or many
/// calls of one conversation, show it once.
#[derive(Default)]
struct Seen {
    conversations: BTreeSet<ConversationKey>,
    not_so: bool,
}

impl Seen {
    fn note(&mut self, example: &Example, so: bool) {
        self.not_so |= !so;
        // More than enough need not be remembered.
        if self.conversations.len() < SEEN {
            self.conversations.insert(example.errand());
        }
    }

    fn is_always_so(&self) -> bool {
        !self.not_so && self.conversations.len() >= SEEN
    }
}

/// A value that could be quoted.
struct Quotable {
    tool: String,
    path: String,
    text: String,
}

/// The texts and numbers in a reply's calls or, where it has none, in its JSON.
fn values(reply: &Choice) -> Vec<Quotable> {
    let mut found = Vec::new();
    for call in &reply.tool_calls {
        if let Ok(arguments) = serde_json::from_str(&call.arguments) {
            leaves(&arguments, &mut String::new(), &mut |path, text| {
                found.push(Quotable { tool: call.name.clone(), path, text });
            });
        }
    }
    if reply.tool_calls.is_empty()
        && let Some(Ok(said @ (Value::Object(_) | Value::Array(_)))) =
            spoken(reply).map(|s| serde_json::from_str(&s))
    {
        leaves(&said, &mut String::new(), &mut |path, text| {
            found.push(Quotable { tool: String::new(), path, text });
        });
    }
    found
}

fn leaves(value: &Value, path: &mut String, found: &mut impl FnMut(String, String)) {
    let held = path.len();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                path.push('/');
                path.push_str(name);
                leaves(value, path, found);
                path.truncate(held);
            }
        }
        Value::Array(items) => {
            path.push_str("/*");
            items.iter().for_each(|item| leaves(item, path, found));
            path.truncate(held);
        }
        Value::String(text) if !text.is_empty() => found(path.clone(), text.clone()),
        Value::Number(number) => found(path.clone(), number.to_string()),
        Value::String(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Whether each text has a place of its own: the longest chooses first, and takes
/// the first place that is free.
fn lie_apart(part: &str, mut texts: Vec<String>) -> bool {
    texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    let mut taken: Vec<Range<usize>> = Vec::new();
    texts.iter().all(|text| {
        let free = starts(part, text)
            .map(|at| at..at + text.len())
            .find(|place| taken.iter().all(|t| place.end <= t.start || t.end <= place.start));
        let found = free.is_some();
        taken.extend(free);
        found
    })
}

/// Every place at which a text begins, those that overlap too.
fn starts<'t>(part: &'t str, text: &'t str) -> impl Iterator<Item = usize> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + part.get(from..)?.find(text)?;
        from = at + part.get(at..)?.chars().next().map_or(1, char::len_utf8);
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{choice, example, tool_call};

    fn learnt(rows: usize, each: impl Fn(usize) -> (String, Choice)) -> Quotes {
        let examples: Vec<Example> = (0..rows)
            .map(|i| {
                let (part, reply) = each(i);
                example(i as u64, &part, reply)
            })
            .collect();
        Quotes::of(&examples.iter().collect::<Vec<_>>())
    }

    /// The number is quoted, the reason is the model's own.
    fn cancels(i: usize) -> (String, Choice) {
        let call = tool_call("cancel", &format!(r#"{{"id":"R{i}","why":"changed plans {i}"}}"#));
        (format!("cancel my trip R{i}, please"), call)
    }

    #[test]
    fn a_value_that_stands_nowhere_is_made_up() {
        let quotes = learnt(60, cancels);
        let part = "cancel my trip R77, please";
        assert!(quotes.are_kept(part, &tool_call("cancel", r#"{"id":"R77","why":"ill"}"#)));
        assert!(!quotes.are_kept(part, &tool_call("cancel", r#"{"id":"R78","why":"ill"}"#)));
        // Of another tool nothing is known.
        assert!(quotes.are_kept(part, &tool_call("look_up", r#"{"id":"R78"}"#)));
        assert!(quotes.are_kept(part, &choice("Which one?")));
    }

    #[test]
    fn too_few_or_one_that_was_not_quoted_teach_nothing() {
        assert!(learnt(SEEN - 1, cancels).is_empty());
        let once_not = |i| if i == 30 { ("the last one".to_owned(), cancels(i).1) } else { cancels(i) };
        assert!(learnt(200, once_not).is_empty());
    }

    #[test]
    fn many_values_of_one_conversation_show_it_once() {
        let rows: Vec<Example> = (0..90)
            .map(|i| {
                let reply = tool_call("cancel", &format!(r#"{{"ids":["R{i}","S{i}"]}}"#));
                let conversation = ConversationKey([u8::try_from(i % 45 + 1).unwrap(); 16]);
                Example { conversation, ..example(i, &format!("R{i} and S{i}"), reply) }
            })
            .collect();
        assert!(Quotes::of(&rows.iter().collect::<Vec<_>>()).is_empty());
    }

    #[test]
    fn lists_nested_values_and_numbers_are_quoted_too() {
        let books = |i: usize| {
            let reply = format!(r#"{{"trip":{{"seats":[{i},{}]}},"now":true}}"#, i + 100);
            (format!("seats {i} and {}", i + 100), tool_call("book", &reply))
        };
        let quotes = learnt(60, books);
        assert!(
            quotes.are_kept("seats 7 and 9", &tool_call("book", r#"{"trip":{"seats":[7,9]},"now":false}"#))
        );
        assert!(!quotes.are_kept("seats 7 and 9", &tool_call("book", r#"{"trip":{"seats":[7,8]}}"#)));
    }

    #[test]
    fn a_reply_in_json_is_read_as_a_call_is() {
        let quotes = learnt(60, |i| (format!("from: u{i}"), choice(&format!(r#"{{"sender":"u{i}"}}"#))));
        assert!(quotes.are_kept("from: ada", &choice(r#"{"sender": "ada"}"#)));
        assert!(!quotes.are_kept("from: ada", &choice(r#"{"sender": "ada@x"}"#)));
    }

    #[test]
    fn words_that_were_never_said_twice_are_said_once() {
        let plays = |i: usize| {
            let reply = format!(r#"{{"artist":"band {i}","song":"song {i}"}}"#);
            (format!("play song {i} by band {i}"), tool_call("play", &reply))
        };
        let quotes = learnt(60, plays);
        let play = |artist: &str, song: &str| {
            quotes.are_kept(
                "play blue moon by blue",
                &tool_call("play", &format!(r#"{{"artist":"{artist}","song":"{song}"}}"#)),
            )
        };
        assert!(play("blue", "blue moon"), "the longer takes the first place, the other the second");
        assert!(!play("moon", "blue moon"));
        assert!(!play("moon by", "blue moon"));
        // Where exchanges do say words twice, so may a reply.
        let twice = |i: usize| {
            (format!("{i} nights"), tool_call("stay", &format!(r#"{{"all":"{i} nights","count":{i}}}"#)))
        };
        assert!(learnt(60, twice).are_kept("3 nights", &twice(3).1));
    }

    #[test]
    fn places_overlap_within_any_script() {
        assert_eq!(starts("ääää", "ää").collect::<Vec<_>>(), [0, 2, 4]);
        assert!(lie_apart("ääää", vec!["ää".to_owned(), "ää".to_owned()]));
        assert!(!lie_apart("äää", vec!["ää".to_owned(), "ää".to_owned()]));
    }
}
