//! Replays captured calls, scores agreement, writes trials.
//!
//! Where to find what: how two answers are compared in [`score`] (and its
//! minimal pairs in [`pairs`]); the loop that turns a journal into decisions in
//! [`worker`]; recorded logs in [`logs`].

pub mod logs;
pub mod pairs;
pub mod score;
pub mod worker;

pub use worker::{Amendment, Mode, Outlets, Pace, Rehearsal, RehearsalError, Settings, TaskReport};
