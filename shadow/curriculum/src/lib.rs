//! Curated training sets out of the journal.
//!
//! A small model learns what it is shown, mistakes included, so what it is
//! shown is chosen: only the provider's own whole answers, only where the
//! operator permits training on them, each question once, and none whose answer
//! is in doubt. [`curate`] does that for one task and says of every exchange
//! that did not become a row why not.
//!
//! The phases:
//! 1. *Intake* (`intake.rs`), exchange by exchange as they are read: who
//!    answered, was it whole, is it permitted, can it be written under the
//!    engine's grammar. What is kept is the part and the reply; equal ones are
//!    kept once, with who asked them.
//! 2. *Split* (`split.rs`): a conversation is in training, development or held by
//!    a hash of its key, for good. A question that conversations of several parts
//!    ask belongs to the part of the one that asked it first.
//! 3. *Duplicates* (`near.rs`): equal ones, then near ones with the same label by
//!    MinHash (Broder 1997) and banding.
//! 4. *A better teacher* (`conflict.rs`, `outliers.rs`, `balance.rs`): label
//!    conflicts, lengths, scripts and languages far from the task's own, classes over their
//!    cap. Training rows only: development and held stay as the traffic is, for a
//!    bar set on easier calls than those to come would promise too much.
//! 5. *What is left to the provider* (`said_once.rs`): texts that nobody could say again.
//!
//! What holds of the result, whatever the order of the input: no conversation is
//! in two parts, no row is an understudy's answer, no question is in two parts,
//! and rows and reasons add up to what was read.
//!
//! Nothing here looks at a held row's words: samples leave them out, and they
//! have no vote.

mod balance;
mod conflict;
mod curate;
mod intake;
mod near;
pub mod openai;
mod outliers;
pub mod parquet;
mod part_alone;
pub mod parts;
mod question;
mod refusal;
mod report;
mod row;
mod rules;
mod said_once;
mod split;
mod told;
mod written;

pub use curate::curate;
pub use refusal::Refusal;
pub use report::{Characters, ClassCount, Conflicts, Dropped, Reason, Report, Sample, SplitSize};
pub use row::{Curated, Row, Split};
pub use rules::{Permission, Rules};
pub use told::Told;

#[cfg(test)]
mod tests;
