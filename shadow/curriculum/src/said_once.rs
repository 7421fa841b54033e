//! Texts that are said once.
//!
//! An agent that calls tools also speaks to its user, and most of what it says is
//! never said again: no small model can be held to such a text word by word, and
//! learning it drowns the calls, which are a tenth of its length. Where training
//! rows of a task call tools, a text reply that follows no pattern is therefore
//! learnt as leaving the call to the provider (learning to defer: Madras, Pitassi
//! and Zemel 2018, arXiv 1711.06664).
//!
//! A pattern is what several conversations say alike when numbers and the words
//! that the part put in are taken out: "I have cancelled EHGLP3 for you." follows one.

use std::collections::{HashMap, HashSet};

use understudy_call::{ConversationKey, Message};
use understudy_cast::specialised::CALLS;

use crate::question::{self, Key};
use crate::{Row, Split};

/// The least share of a task's training rows that are calls: with fewer it is a task of
/// texts, and what can be won there are texts.
const LEAST_CALLS: f64 = 0.1;

/// The part of a task's conversations whose texts have a word that a part puts in, at
/// most: one in so many, or two. "The" stands in most parts, too.
const RARE: usize = 10;

/// So many words of a text tell it from others when all that stands in its part is out.
const TELLING: usize = 3;

/// Where a part's words stood.
const PUT_IN: &str = "·";

/// How many training rows are texts that are said once, and not copied out of their part.
/// Where their task calls tools, rows of texts that are said once are marked as left to
/// the provider.
pub(crate) fn mark(rows: &mut [Row]) -> usize {
    let of_train = |r: &&Row| r.split == Split::Train;
    let calls = rows.iter().filter(of_train).filter(|r| CALLS.begins(&r.reply)).count();
    let leaves = calls > 0 && calls as f64 >= LEAST_CALLS * rows.iter().filter(of_train).count() as f64;
    let spread = Spread::of(rows);
    let patterns: Vec<Patterns> = rows
        .iter()
        .map(|r| if is_text(&r.reply) { spread.patterns(r) } else { Patterns::default() })
        .collect();
    // What held rows say is nobody's to look at, and development rows are judged by
    // what was learnt.
    let mut said_by: HashMap<Key, (ConversationKey, bool)> = HashMap::new();
    for (row, patterns) in rows.iter().zip(&patterns).filter(|(r, _)| r.split == Split::Train) {
        for pattern in &patterns.keys {
            let (first, again) = said_by.entry(*pattern).or_insert((row.conversation, false));
            // A row stands for the equal ones of other conversations.
            *again |= *first != row.conversation || row.stands_for > 1;
        }
    }
    let is_said_again = |p: &Key| said_by.get(p).is_some_and(|(_, again)| *again);
    let mut once = 0;
    for (row, Patterns { keys, copied }) in rows.iter_mut().zip(patterns) {
        let is_said_once = !keys.is_empty() && !keys.iter().any(is_said_again);
        row.defers = leaves && is_said_once;
        once += usize::from(is_said_once && !copied && row.split == Split::Train);
    }
    once
}

/// Neither a call nor JSON, which are judged by their values.
fn is_text(reply: &str) -> bool {
    let said = reply.trim();
    let said = said.strip_prefix("```json").or_else(|| said.strip_prefix("```")).unwrap_or(said);
    !CALLS.begins(reply) && !said.trim_start().starts_with(['{', '['])
}

/// What a text follows.
#[derive(Default)]
struct Patterns {
    keys: Vec<Key>,
    /// Next to nothing of it is its own: a quoted sentence, or a word that was asked for.
    copied: bool,
}

/// In how many training conversations' texts a word stands.
struct Spread {
    words: HashMap<String, usize>,
    few: usize,
}

impl Spread {
    fn of(rows: &[Row]) -> Self {
        let mut texts: Vec<&Row> =
            rows.iter().filter(|r| r.split == Split::Train && is_text(&r.reply)).collect();
        texts.sort_unstable_by_key(|r| r.conversation);
        let (mut words, mut conversations): (HashMap<String, usize>, usize) = (HashMap::new(), 0);
        for talk in texts.chunk_by(|a, b| a.conversation == b.conversation) {
            conversations += 1;
            let said = talk.iter().flat_map(|r| question::words(&r.reply)).map(str::to_lowercase);
            for word in said.collect::<HashSet<String>>() {
                *words.entry(word).or_default() += 1;
            }
        }
        Self { words, few: (conversations / RARE).max(2) }
    }

    /// The words of a row's text without its numbers and what its part put in: by what
    /// looks like a value, and, where enough is left to tell texts apart, by all that
    /// stands in the part.
    fn patterns(&self, row: &Row) -> Patterns {
        let said: Vec<(&str, String)> =
            question::words(&row.reply).map(|word| (word, word.to_lowercase())).collect();
        let own: HashSet<&str> = said.iter().map(|(_, low)| low.as_str()).collect();
        let mut asked: HashSet<String> = HashSet::new();
        for text in row.messages.iter().map(Message::text) {
            asked.extend(question::words(&text).map(str::to_lowercase).filter(|w| own.contains(w.as_str())));
        }
        let rare = |low: &str| self.words.get(low).is_none_or(|n| *n <= self.few);
        let values = pattern(&said, |word, low| asked.contains(low) && (rare(low) || is_name(word)));
        let all = pattern(&said, |_, low| asked.contains(low));
        let enough = all.iter().filter(|w| **w != PUT_IN).count() >= TELLING;
        let keys = [Some(values), Some(all).filter(|_| enough)];
        let keys = keys.into_iter().flatten().map(|pattern| question::label(&pattern.join(" "))).collect();
        Patterns { keys, copied: !enough }
    }
}

fn pattern<'w>(said: &'w [(&str, String)], put_in: impl Fn(&str, &str) -> bool) -> Vec<&'w str> {
    let mut pattern: Vec<&str> = Vec::new();
    for (word, low) in said {
        if !word.contains(char::is_numeric) && !put_in(word, low) {
            pattern.push(low);
        } else if pattern.last() != Some(&PUT_IN) {
            // A name may be of any number of words.
            pattern.push(PUT_IN);
        }
    }
    pattern
}

/// Written with a capital and not one letter long, as names are, and the first words of
/// sentences.
fn is_name(word: &str) -> bool {
    word.chars().nth(1).is_some() && word.starts_with(char::is_uppercase)
}
