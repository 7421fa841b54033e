//! What the first user message of every call of a task begins and ends with.
//!
//! Many agents have no system text to speak of: instructions and input are one user
//! message. Of such a message the instructions are as little part of the call as a system
//! text is: learnt with every row they take ten times the time, and embedded with every
//! question they drown it. So what [`ALL`] different messages in a row begin and end with
//! is the task's *frame*, and a part is what stands inside it.
//!
//! Messages are compared word by word. A date ([`mask`] says what is one) may differ, and is
//! a value of the part. Any other word has to be the same in all messages that make a frame.
//! In a call that is looked at later, what the journal has a stand-in for may be another: an
//! address, and in the same shape a long number or a secret. It is a value of the part, too,
//! since a reply may repeat it. Whatever else differs is another question: "tier 2" is not
//! asked what "tier 1" is, and neither is another page's link.
//!
//! [`mask`]: crate::mask()

use serde::{Deserialize, Serialize};
use understudy_call::{Message, Part as Piece, Request, Role};

use crate::mask::Masked;
use crate::part::Part;
use words::{Word, alike, personal, words};

mod words;

/// So many different messages in a row make a frame.
const ALL: usize = 32;

/// A frame of fewer words saves nothing.
const LEAST_WORDS: usize = 8;

/// Most words of each side.
const MOST_WORDS: usize = 1_024;

/// Longest message that is looked at.
const LONGEST: usize = 64 << 10;

/// Of the latest calls so many times as many have to be in the frame as are not.
const IN_FRAME: u32 = 9;

/// So many calls count as the latest: then both counts are halved.
const LATEST: u32 = 512;

/// The words around what a task's calls ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Words before it.
    before: Vec<Fixed>,
    /// Words after it.
    after: Vec<Fixed>,
}

/// A word of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fixed {
    /// The word, with the kinds of the values in it instead of them.
    word: String,
    /// It may be a stand-in, so that the live word is another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    personal: bool,
}

/// A task's frame, and what may become its next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// The last that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<Frame>,
    /// How many of the latest calls were in it, and how many not.
    #[serde(default)]
    inside: u32,
    #[serde(default)]
    outside: u32,
    /// What the latest messages that are not in it had in common, and those messages by
    /// their hashes. After a restart they are counted anew.
    #[serde(skip)]
    common: Option<Common>,
    #[serde(skip)]
    met: Vec<u64>,
}

/// What messages had in common, by hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Common {
    before: Vec<Same>,
    after: Vec<Same>,
}

/// A word that messages had in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Same {
    word: u64,
    /// The addresses in it.
    value: u64,
    /// On the side of the input a line ended in all of them.
    breaks: bool,
}

impl Framing {
    /// The frame that versions are made with from now on: that of most calls, if there
    /// is one.
    #[must_use]
    pub fn frame(&self) -> Option<&Frame> {
        self.known.as_ref().filter(|_| self.inside >= self.outside.saturating_mul(IN_FRAME))
    }

    /// The frame of this hash, if it is the last that was found.
    #[must_use]
    pub fn of_hash(&self, hash: &str) -> Option<&Frame> {
        self.known.as_ref().filter(|frame| frame.hash() == hash)
    }

    /// Meets a call of the task, whose first `opening` messages all calls of its form
    /// begin with; `true` where a frame was found by it.
    pub fn meet(&mut self, request: &Request, opening: u16) -> bool {
        let Some(text) = request.turns_after(opening).next().and_then(framed) else { return false };
        if let Some(frame) = &self.known {
            let is_inside = frame.inside(&text).is_some();
            *(if is_inside { &mut self.inside } else { &mut self.outside }) += 1;
            if self.inside + self.outside >= LATEST {
                (self.inside, self.outside) = (self.inside / 2, self.outside / 2);
            }
            if is_inside {
                (self.common, self.met) = (None, Vec::new());
                return false;
            }
        }
        // The calls of one conversation begin with the same message.
        let hash = hash(&text);
        if self.met.contains(&hash) {
            return false;
        }
        let words = words(&text);
        let common = match self.common.take() {
            Some(common) => common.with(&words),
            None => Common::of(&words),
        };
        if common.before.len() + common.after.len() < LEAST_WORDS {
            // The next begins anew with this one.
            (self.common, self.met) = (Some(Common::of(&words)), vec![hash]);
            return false;
        }
        self.met.push(hash);
        if self.met.len() < ALL {
            self.common = Some(common);
            return false;
        }
        self.met = Vec::new();
        let found = common.frame(&words);
        // Messages that differ in nothing but a number are their own best words.
        let leaves = |f: &Frame| f.inside(&text).is_some_and(|(_, inside)| !inside.is_empty());
        let is_one = found.before.len() + found.after.len() >= LEAST_WORDS && leaves(&found);
        if is_one {
            (self.known, self.inside, self.outside) = (Some(found), ALL as u32, 0);
        }
        is_one
    }
}

impl Common {
    /// All words of a message, as far as they may be of a frame.
    fn of(words: &[Word<'_>]) -> Self {
        let last = words.len().saturating_sub(MOST_WORDS);
        Self {
            before: words.iter().take(MOST_WORDS).map(|w| Same::of(w, w.breaks.1)).collect(),
            after: words.iter().skip(last).map(|w| Same::of(w, w.breaks.0)).collect(),
        }
    }

    fn with(mut self, words: &[Word<'_>]) -> Self {
        let pairs = self.before.iter_mut().zip(words);
        let before =
            pairs.map(|(same, w)| same.stays(&Same::of(w, w.breaks.1))).take_while(|stays| *stays).count();
        self.before.truncate(before);
        let pairs = self.after.iter_mut().rev().zip(words.iter().rev());
        let after =
            pairs.map(|(same, w)| same.stays(&Same::of(w, w.breaks.0))).take_while(|stays| *stays).count();
        // Both sides together are no more than the message.
        let after = after.min(words.len() - before);
        self.after.drain(..self.after.len() - after);
        self
    }

    /// The frame, with the words of one of the messages. Without those next to the input
    /// that may only seem to be of it, since that is what 32 questions happen to begin
    /// with: it ends where a line or a sentence does.
    fn frame(&self, words: &[Word<'_>]) -> Frame {
        let personal = personal(words);
        let fixed = |(_, word): (&Same, &Word<'_>)| Fixed {
            word: word.shown().into_owned(),
            personal: personal.iter().any(|range| range.contains(&word.from)),
        };
        let ends = |(same, word): (&Same, &Word<'_>)| {
            same.breaks || word.text.ends_with(['.', ':', '?', '!', '>', '-', '=', '#', '`'])
        };
        let begins = |(same, word): (&Same, &Word<'_>)| {
            let first = |c: char| c.is_uppercase() || matches!(c, '<' | '#' | '-' | '=' | '`');
            same.breaks || word.text.starts_with(first)
        };
        let last = words.len() - self.after.len();
        let before = || self.before.iter().zip(words);
        let after = || self.after.iter().zip(words.iter().skip(last));
        let to = before().rposition(ends).map_or(0, |at| at + 1);
        let from = after().position(begins).unwrap_or(self.after.len());
        Frame {
            before: before().take(to).map(fixed).collect(),
            after: after().skip(from).map(fixed).collect(),
        }
    }
}

impl Same {
    fn of(word: &Word<'_>, breaks: bool) -> Self {
        Self { word: hash(&word.shown()), value: hash(&word.addresses()), breaks }
    }

    /// Whether it is also a word of another message.
    fn stays(&mut self, other: &Self) -> bool {
        self.breaks &= other.breaks;
        (self.word, self.value) == (other.word, other.value)
    }
}

impl Frame {
    /// Its name, for a card: nothing of its words.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut h = blake3::Hasher::new();
        // A frame always serialises, its fields in order.
        let _ = serde_json::to_writer(&mut h, self);
        h.finalize().to_hex().chars().take(16).collect()
    }

    /// What stands inside the frame, and the values of the frame's own words that vary;
    /// `None` for a text that is not in it.
    fn inside<'t>(&self, text: &'t str) -> Option<(Vec<Masked>, &'t str)> {
        let words = words(text);
        let room = words.len().checked_sub(self.before.len() + self.after.len())?;
        let (before, rest) = words.split_at_checked(self.before.len())?;
        let (inner, after) = rest.split_at_checked(room)?;
        let pairs = || self.before.iter().zip(before).chain(self.after.iter().zip(after));
        if !pairs().all(|(fixed, word)| fixed.is(word)) {
            return None;
        }
        let values = pairs().flat_map(|(fixed, word)| word.masked(fixed.personal));
        let inside = match (inner.first(), inner.last()) {
            (Some(first), Some(last)) => text.get(first.from..last.to)?,
            _ => "",
        };
        Some((values.collect(), inside))
    }

    /// The part of a call that is in the frame; `None` of one that is not.
    #[must_use]
    pub fn part(&self, part: &Part) -> Option<Part> {
        let (first, others) = part.turns.split_first()?;
        let text = framed(first)?;
        let (values, inside) = self.inside(&text)?;
        let mut turns = vec![Message { name: first.name.clone(), ..Message::text_of(Role::User, inside) }];
        turns.extend(others.iter().cloned());
        Some(Part { masked: part.masked.iter().cloned().chain(values).collect(), turns })
    }

    /// Its words, for whoever has to be told what is asked.
    #[must_use]
    pub fn text(&self) -> String {
        let say = |words: &[Fixed]| -> String {
            words.iter().map(|w| if w.personal { "…" } else { &w.word }).collect::<Vec<_>>().join(" ")
        };
        let sides = [say(&self.before), say(&self.after)];
        sides.into_iter().filter(|side| !side.is_empty()).collect::<Vec<_>>().join("\n…\n")
    }
}

impl Fixed {
    fn is(&self, said: &Word<'_>) -> bool {
        self.word == said.shown() || (self.personal && said.values.is_empty() && alike(&self.word, said.text))
    }
}

/// The text of a message that a frame may be around: a user's, of text alone.
fn framed(message: &Message) -> Option<String> {
    let is_text = message.content.iter().all(|piece| matches!(piece, Piece::Text(_)));
    (message.role == Role::User && is_text)
        .then(|| message.text())
        .filter(|text| !text.is_empty() && text.len() <= LONGEST)
}

fn hash(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
