//! Which user message names a call's conversation.
//!
//! The Chat API names no conversation, so the first user message does. But an agent
//! that brings examples as turns begins every call with the same one, and so does every
//! customer who says "Hi" and is greeted: all of that would be one conversation, which
//! never ends, and no evidence would ever count. A conversation goes on in one way,
//! though, and examples in many. So leading turns that were continued in many ways are
//! nobody's own: they are an *opening*, and what comes after it names the conversation.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use understudy_call::{ConversationKey, Credential, FormHash, Message, Request, Role};

use crate::keys::{HashKey, field, first8, first16};

/// So many different user messages after the same turns make them an opening. Fewer may
/// be one person's, who puts a question again in other words.
const MANY: usize = 8;

/// Most messages of an opening: examples that are given as turns are seldom more than
/// some ten pairs.
const MESSAGES: usize = 32;

/// Most bytes of its text, which is hashed at every call.
const BYTES: usize = 32 << 10;

/// Most candidates, and most openings, of all callers together: some 200 KiB when there
/// are as many of both.
const REMEMBERED: usize = 1024;

/// Names the conversations of calls. A clone knows, and learns, the same openings.
///
/// What it knows is in memory alone: after a restart an opening is learnt anew, and
/// until then its calls are of one conversation, as they were at first. A conversation
/// changes its key when it comes to the end of an opening, as after a greeting that many
/// were given, and when one that it began with is learnt: then its calls may be drawn
/// into other lanes than before. Of what calls say only keyed hashes are kept.
///
/// Examples that differ from call to call, or are longer than 32 messages or 32 KiB of
/// text, are no opening; nor, so far, are examples that are tool calls.
#[derive(Clone)]
pub struct Conversations {
    key: HashKey,
    openings: Arc<Mutex<Openings>>,
}

/// A keyed hash of a credential, a form and the turns that a call begins with.
type Row = [u8; 16];

#[derive(Default)]
struct Openings {
    /// Rows that may be one, with hashes of the user messages that came after.
    candidates: Bounded<Vec<u64>>,
    known: Bounded<()>,
}

/// What is held of [`REMEMBERED`] rows: the one that was of use longest ago leaves first.
#[derive(Default)]
struct Bounded<V> {
    held: HashMap<Row, V>,
    order: VecDeque<Row>,
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conversations(…)")
    }
}

impl Conversations {
    /// Knows no openings yet.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self { key, openings: Arc::default() }
    }

    /// The key by which it names them.
    #[must_use]
    pub fn key(&self) -> &HashKey {
        &self.key
    }

    /// The conversation of a call: the caller's own id where there is one, else the form
    /// with the first user message after the longest opening that the call begins with.
    /// Retries agree on it, but for those under way while an opening is learnt.
    ///
    /// The call itself counts: what stands before its last user message was continued by
    /// that message. The same call again adds nothing, so the gateway and the journal's
    /// writer may both ask.
    pub fn of(
        &self,
        credential: Credential,
        form: FormHash,
        explicit: Option<&str>,
        request: &Request,
    ) -> ConversationKey {
        if explicit.is_some() {
            return self.key.conversation(credential, form, explicit, "");
        }
        let after = leading(&request.messages)
            .map_or(0, |(before, last)| self.opening(credential, form, before, last));
        let names = request.messages.iter().skip(after).find(|m| m.role == Role::User);
        self.key.conversation(credential, form, None, &names.map(Message::text).unwrap_or_default())
    }

    /// How many of the messages before the last user message are the longest opening
    /// that they begin with.
    fn opening(&self, credential: Credential, form: FormHash, before: &[Message], last: &Message) -> usize {
        let mut h = self.key.domain(b"opening");
        field(&mut h, &credential.0);
        field(&mut h, &form.0);
        let (rows, whole) = rows(h, before);
        let Some((_, longest)) = rows.last() else { return 0 };
        let by = whole.then(|| {
            let mut h = self.key.domain(b"continued");
            field(&mut h, last.text().as_bytes());
            first8(&h)
        });
        let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(by) = by {
            openings.continued(*longest, by);
        }
        let Some((end, row)) = rows.iter().rev().find(|(_, row)| openings.known.holds(row)) else { return 0 };
        openings.known.used(row);
        *end
    }
}

/// What stands before the last user message, if the model has spoken there, and that
/// message. Most calls have no such turns: for them nothing is hashed.
fn leading(messages: &[Message]) -> Option<(&[Message], &Message)> {
    let at = messages.iter().rposition(|m| m.role == Role::User)?;
    let (before, rest) = messages.split_at_checked(at)?;
    let last = rest.first()?;
    before.iter().any(|m| m.role == Role::Assistant).then_some((before, last))
}

/// The rows of turns with which these messages begin and that may be an opening, the
/// shortest first, each with the number of messages that it takes; and whether the last
/// row is all the turns that there are.
fn rows(mut h: blake3::Hasher, before: &[Message]) -> (Vec<(usize, Row)>, bool) {
    let mut rows = Vec::new();
    let (mut turns, mut bytes, mut answered) = (0, 0, false);
    for (message, end) in before.iter().zip(1..).filter(|(m, _)| m.role != Role::System) {
        let text = message.text();
        turns += 1;
        bytes += text.len();
        let begins_otherwise = turns == 1 && message.role != Role::User;
        let of_tools = message.role == Role::Tool || !message.tool_calls.is_empty();
        if begins_otherwise || of_tools || turns > MESSAGES || bytes > BYTES {
            return (rows, false);
        }
        let answers = message.role == Role::Assistant;
        answered |= answers;
        h.update(&[u8::from(answers)]);
        field(&mut h, text.as_bytes());
        if answered {
            rows.push((end, first16(&h)));
        }
    }
    (rows, true)
}

impl Openings {
    /// A row of turns was continued by the message of this hash.
    fn continued(&mut self, row: Row, by: u64) {
        if self.known.holds(&row) {
            return;
        }
        let ways = self.candidates.hold(row);
        if ways.contains(&by) {
            return;
        }
        ways.push(by);
        if ways.len() >= MANY {
            self.candidates.let_go(&row);
            self.known.hold(row);
        }
    }
}

impl<V: Default> Bounded<V> {
    fn holds(&self, row: &Row) -> bool {
        self.held.contains_key(row)
    }

    /// What is held of a row, which is taken in if it is new.
    fn hold(&mut self, row: Row) -> &mut V {
        if self.holds(&row) {
            self.used(&row);
        } else {
            if self.order.len() >= REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.held.remove(&oldest);
            }
            self.order.push_back(row);
        }
        self.held.entry(row).or_default()
    }

    fn used(&mut self, row: &Row) {
        if self.order.back() != Some(row)
            && let Some(at) = self.order.iter().position(|r| r == row)
        {
            self.order.remove(at);
            self.order.push_back(*row);
        }
    }

    fn let_go(&mut self, row: &Row) {
        self.held.remove(row);
        self.order.retain(|r| r != row);
    }
}

#[cfg(test)]
mod tests;
