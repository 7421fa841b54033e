//! Pure decision arithmetic: who may answer a task, on what evidence.
//!
//! No clock, no disk, no async: time and chance are passed in.

mod nouns;

pub use nouns::{
    Action, Approval, Decision, EntryOpened, Outcome, Roster, RosterEntry, RosterTask, Stage, TaskId,
    Trial, TrialKind, Why,
};
