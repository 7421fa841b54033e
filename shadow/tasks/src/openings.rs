//! Which message names a call's conversation.
//!
//! The Chat API names no conversation, so the first user message does. But an agent
//! that brings examples as turns begins every call with the same one, and so does one
//! that says its rules in a message of their own, and every customer who says "Hi" and is
//! greeted: all of that would be one conversation, which never ends, and no evidence would
//! ever count. A conversation goes on in one way, though, and examples in many. So leading
//! turns that were continued in many ways are nobody's own: they are an *opening*, and what
//! the user says after it names the conversation.
//!
//! An agent that is told "Take the next ticket" each time, and finds it with a tool, is one
//! conversation still. Named by what the tool finds, its first call would be of another
//! conversation than those that follow: what an understudy said in it could be taken for
//! the provider's history.
//!
//! An opening that all calls of a form begin with for a while, as examples are, is form
//! by nature: a system text with the same examples would be. So calls that begin with it
//! are of a form of their own from then on, its words among what is hashed, and it is no
//! part of them. Other examples are another form, as another system text is.

mod bounded;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bounded::Bounded;
use serde::{Deserialize, Serialize};
use understudy_call::{Belongs, ConversationKey, Credential, FormHash, Message, Request, Role};

use crate::keys::{HashKey, field, first8, first16};
use crate::mask::mask;
use crate::part::told_apart_by;

/// So many different user messages after the same turns make them an opening. Fewer may
/// be one person's, who puts a question again in other words.
const MANY: usize = 8;

/// So many conversations of a form in a row that began with an opening make a form of it.
/// A greeting or a way through a menu, which others do not begin with, seldom gets there.
const ALL: usize = 32;

/// Most messages of an opening: examples that are given as turns are seldom more than
/// some ten pairs.
const MESSAGES: usize = 32;

/// Most bytes of its text, which is hashed at every call.
const BYTES: usize = 32 << 10;

/// Names the conversations of calls. A clone knows, and learns, the same openings.
///
/// What it knows is in memory, and outlives the process by [`Self::learnt`] alone. Until an
/// opening is learnt its calls are of one conversation, and of the form that they have
/// without it. A conversation changes its key when it comes to the end of an opening, as
/// after a greeting that many were given, and when one that it began with is learnt: then
/// its calls may be drawn into other lanes than before. Of what calls say only hashes are
/// kept.
///
/// Examples that differ from call to call, or are longer than 32 messages or 32 KiB of
/// text, are no opening.
#[derive(Clone)]
pub struct Conversations {
    key: HashKey,
    learnt: Arc<Learnt>,
}

#[derive(Default)]
struct Learnt {
    /// Whether any form has an opening. Where none has, a call without leading turns is
    /// not looked up.
    any: AtomicBool,
    /// Whether an opening is more sure, or less, than when it was asked last.
    news: AtomicBool,
    /// Whether there is anything else to keep.
    more: AtomicBool,
    openings: Mutex<Openings>,
}

/// A keyed hash of a credential, a form and the turns that a call begins with.
type Row = [u8; 16];

#[derive(Default, Serialize, Deserialize)]
struct Openings {
    /// Rows that may be one, with hashes of the user messages that came after.
    candidates: Bounded<Vec<u64>>,
    /// The form of the calls that begin with it, where it has made one.
    known: Bounded<Option<FormHash>>,
    /// By a hash of credential and form: with what its latest calls all began.
    runs: Bounded<Run>,
}

/// Conversations in a row that began with the same opening.
#[derive(Default, Serialize, Deserialize)]
struct Run {
    row: Row,
    /// The beginnings of their keys, [`ALL`] at most.
    conversations: Vec<u64>,
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
        Self { key, learnt: Arc::default() }
    }

    /// The key by which it names them.
    #[must_use]
    pub fn key(&self) -> &HashKey {
        &self.key
    }

    /// What it has learnt, for another process with the same key: hashes and counts.
    /// `None` where no opening is more sure than when this was asked last; or, with `all`,
    /// where nothing at all has come.
    #[must_use]
    pub fn learnt(&self, all: bool) -> Option<Vec<u8>> {
        let news = self.learnt.news.swap(false, Relaxed);
        (news | (all && self.learnt.more.swap(false, Relaxed))).then(|| {
            // Always some: it is made of lists and numbers.
            serde_json::to_vec(&*self.openings()).unwrap_or_default()
        })
    }

    /// What was given last could not be kept: it is given again.
    pub fn not_kept(&self) {
        self.learnt.news.store(true, Relaxed);
    }

    /// Takes up what another process had learnt.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn take_up(&self, learnt: &[u8]) -> Result<(), serde_json::Error> {
        let learnt: Openings = serde_json::from_slice(learnt)?;
        self.learnt.any.store(!learnt.known.is_empty(), Relaxed);
        *self.openings() = learnt;
        Ok(())
    }

    fn openings(&self) -> MutexGuard<'_, Openings> {
        self.learnt.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a call of this form belongs.
    ///
    /// Its conversation is the caller's own id where there is one, else the form with the
    /// first user message after the longest opening that the call begins with. Where no user
    /// says anything it is what varies in the system text. Retries agree on it, but for
    /// those under way while an opening is learnt.
    ///
    /// The call itself counts: what stands before its last user message was continued by
    /// that message, or in the conversation of that id. The same call again adds nothing.
    pub fn of(
        &self,
        credential: Credential,
        form: FormHash,
        explicit: Option<&str>,
        request: &Request,
    ) -> Belongs {
        let messages = &request.messages;
        let leading = leading(messages);
        let named_after = |opening: usize| {
            let words = || match messages.iter().skip(opening).find(|m| m.role == Role::User) {
                Some(message) => message.text(),
                None => told_apart_by(messages),
            };
            let words = if explicit.is_some() { String::new() } else { words() };
            self.key.conversation(credential, form, explicit, &words)
        };
        if leading.is_none() && !self.learnt.any.load(Relaxed) {
            return Belongs { form, conversation: named_after(0), opening: 0 };
        }
        let mut h = self.key.domain(b"opening");
        field(&mut h, &credential.0);
        field(&mut h, &form.0);
        let of_form = first16(&h);
        let (rows, whole) = leading.map_or((Vec::new(), false), |(before, _)| rows(h, before));
        let continued = leading.filter(|_| whole).zip(rows.last()).map(|((_, last), (_, row))| {
            let mut h = self.key.domain(b"continued");
            match explicit {
                Some(id) => field(&mut h, id.as_bytes()),
                None => field(&mut h, last.text().as_bytes()),
            }
            (*row, first8(&h))
        });
        let mut openings = self.openings();
        if let Some((row, by)) = continued
            && openings.continued(row, by)
        {
            self.learnt.more.store(true, Relaxed);
        }
        let longest = openings.longest(&rows);
        if longest.is_some() {
            self.learnt.any.store(true, Relaxed);
        }
        if longest.is_some() || openings.runs.holds(&of_form) {
            self.learnt.news.store(true, Relaxed);
        }
        let conversation = named_after(longest.map_or(0, |(end, _)| end));
        if let Some((end, row)) = openings.run(of_form, &rows, longest, conversation) {
            let opening = messages.get(..end).unwrap_or_default();
            openings.makes_a_form(row, form_with(form, opening));
        }
        let (end, form) = openings.form_of(&rows).unwrap_or((0, form));
        Belongs { form, conversation, opening: u16::try_from(end).unwrap_or(0) }
    }
}

/// The form of calls of this form that all begin with these messages. It is of nobody's
/// key, and masked, as other forms are.
fn form_with(form: FormHash, opening: &[Message]) -> FormHash {
    let mut h = blake3::Hasher::new();
    field(&mut h, &form.0);
    field(&mut h, b"opening");
    for message in opening.iter().filter(|m| m.role != Role::System) {
        turn(&mut h, message, &mask(&message.text()).0);
    }
    FormHash(first16(&h))
}

/// Adds a turn. Ids of calls may be drawn anew where the rest is the same.
fn turn(h: &mut blake3::Hasher, message: &Message, text: &str) {
    let role: &[u8] = match message.role {
        Role::System => b"system",
        Role::User => b"user",
        Role::Assistant => b"assistant",
        Role::Tool => b"tool",
    };
    field(h, role);
    field(h, text.as_bytes());
    field(h, message.name.as_deref().unwrap_or_default().as_bytes());
    h.update(&(message.tool_calls.len() as u64).to_le_bytes());
    for call in &message.tool_calls {
        field(h, call.name.as_bytes());
        field(h, call.arguments.as_bytes());
    }
}

/// What stands before the last user message, if anything does but system text, and that
/// message. Most calls have no such turns: for them nothing is hashed.
fn leading(messages: &[Message]) -> Option<(&[Message], &Message)> {
    let at = messages.iter().rposition(|m| m.role == Role::User)?;
    let (before, rest) = messages.split_at_checked(at)?;
    let last = rest.first()?;
    before.iter().any(|m| m.role != Role::System).then_some((before, last))
}

/// The rows of turns with which these messages begin and that may be an opening, the
/// shortest first, each with the number of messages that it takes; and whether the last
/// row is all the turns that there are.
fn rows(mut h: blake3::Hasher, before: &[Message]) -> (Vec<(usize, Row)>, bool) {
    let mut rows = Vec::new();
    let (mut turns, mut bytes) = (0, 0);
    for (message, end) in before.iter().zip(1..).filter(|(m, _)| m.role != Role::System) {
        let text = message.text();
        turns += 1;
        bytes += text.len();
        bytes += message.tool_calls.iter().map(|c| c.name.len() + c.arguments.len()).sum::<usize>();
        let begins_otherwise = turns == 1 && message.role != Role::User;
        if begins_otherwise || turns > MESSAGES || bytes > BYTES {
            return (rows, false);
        }
        turn(&mut h, message, &text);
        rows.push((end, first16(&h)));
    }
    (rows, true)
}

impl Openings {
    /// A row of turns was continued by the message of this hash; says whether that is new.
    fn continued(&mut self, row: Row, by: u64) -> bool {
        if self.known.holds(&row) {
            return false;
        }
        let ways = self.candidates.hold(row);
        if ways.contains(&by) {
            return false;
        }
        ways.push(by);
        if ways.len() >= MANY {
            self.candidates.let_go(&row);
            self.known.hold(row);
        }
        true
    }

    /// The longest opening among these.
    fn longest(&mut self, rows: &[(usize, Row)]) -> Option<(usize, Row)> {
        let found = *rows.iter().rev().find(|(_, row)| self.known.holds(row))?;
        self.known.used(&found.1);
        Some(found)
    }

    /// Counts a call of a form. Where its latest conversations all began with one
    /// opening, that: its messages and its row.
    fn run(
        &mut self,
        form: Row,
        rows: &[(usize, Row)],
        longest: Option<(usize, Row)>,
        conversation: ConversationKey,
    ) -> Option<(usize, Row)> {
        let Some(longest) = longest else {
            self.runs.let_go(&form);
            return None;
        };
        let before = self.runs.get(&form).map(|run| run.row);
        let goes_on = before.and_then(|before| rows.iter().find(|(_, row)| *row == before));
        // What some go on with alike (a greeting after the examples) ends no run; once the
        // shorter one has made its form, a longer one may.
        let goes_on = goes_on.filter(|(_, row)| *row == longest.1 || !self.has_a_form(row));
        let (end, row) = goes_on.copied().unwrap_or(longest);
        let run = self.runs.hold(form);
        if run.row != row {
            *run = Run { row, ..Run::default() };
        }
        let [a, b, c, d, e, f, g, h, ..] = conversation.0;
        let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if run.conversations.len() < ALL && !run.conversations.contains(&key) {
            run.conversations.push(key);
        }
        (run.conversations.len() >= ALL && !self.has_a_form(&row)).then_some((end, row))
    }

    fn has_a_form(&self, row: &Row) -> bool {
        self.known.get(row).is_some_and(Option::is_some)
    }

    fn makes_a_form(&mut self, row: Row, form: FormHash) {
        if self.known.holds(&row) {
            *self.known.hold(row) = Some(form);
        }
    }

    /// The longest of these that has made a form.
    fn form_of(&mut self, rows: &[(usize, Row)]) -> Option<(usize, FormHash)> {
        let (end, row, form) =
            rows.iter().rev().find_map(|(end, row)| Some((*end, *row, (*self.known.get(row)?)?)))?;
        self.known.used(&row);
        Some((end, form))
    }
}

#[cfg(test)]
mod tests;
