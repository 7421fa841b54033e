//! Finds the tasks and names the task of a call.
//!
//! Most steps of an agent repeat: the program around the model sends the same
//! system text, the same tools and the same response schema over and over, and
//! only the turns differ. What repeats is the *form*; calls of one form, made
//! with one credential, are a *task*: the unit that is promoted. What varies is
//! the *part*.
//!
//! The phases: [`fingerprint`] and [`Conversations::of`] on the call's path
//! (microseconds, no model); [`TaskBook::assign`] off the path, which meets a form for
//! the first time and names it; [`part`] for whoever needs the text that varies.
//!
//! A value that changes from call to call inside a system text (a timestamp, a
//! UUID, an address) would make every call its own form, so such values are
//! masked in the form and belong to the part. A number in a rule is form: "at
//! most 5 passengers" and "at most 9 passengers" are two tasks.

mod book;
mod effect;
mod form;
mod frame;
mod keys;
mod mask;
mod openings;
mod part;

pub use book::{Sharing, Task, TaskBook};
pub use effect::{Effect, reads_or_acts};
pub use form::{Form, fingerprint};
pub use frame::{Frame, Framing};
pub use keys::{HashKey, task_id};
pub use mask::{Masked, mask};
pub use openings::Conversations;
pub use part::{Part, part, told_apart_by};

#[cfg(test)]
mod tests;
