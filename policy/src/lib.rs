//! Pure decision arithmetic: who may answer a task, on what evidence.
//!
//! No clock, no disk, no async: time and chance are passed in.
//!
//! # The idea
//!
//! An understudy is let on stage when its agreement with the provider has been
//! *shown* to exceed τ, and is taken off when later evidence says otherwise.
//! People look at the evidence whenever they like, so every test here stays
//! valid at any stopping time.
//!
//! # The phases of a task
//!
//! 1. **Observing**: calls are counted.
//! 2. **Development** ([`bar`]): trials of a frozen version choose its bar of
//!    confidence. They prove nothing yet.
//! 3. **Shadowing** ([`betting`]): an *entry* (task, version, bar) opens with
//!    its own share α/(k(k+1)) of the permitted error; one mean a closed
//!    conversation ([`conversations`]) is bet against "agreement ≤ τ".
//! 4. **Canary**: wealth of k(k+1)/α opens it; each step must be earned on
//!    conversations in which every served call was audited.
//! 5. **Live**: a share is audited for ever; a change detector ([`cusum`]),
//!    budgets and the control group may send the task back to shadowing,
//!    where everything begins anew but the count k.
//!
//! The whole is a fold, [`Ledger`]: the same events in the same order give the
//! same state and the same decisions.
//!
//! Waudby-Smith and Ramdas 2024 (arXiv 2010.09686) for the bets; Shin, Ramdas
//! and Rinaldo 2022 (arXiv 2203.03532) for the detector; Angelopoulos et al.
//! (arXiv 2110.01052) for the bar.

pub mod bar;
pub mod betting;
pub mod conversations;
pub mod cusum;
mod event;
mod exact;
pub mod interval;
pub mod lane;
mod ledger;
mod nouns;
mod roster;
mod task_policy;

pub use event::{Event, ExchangeSeen, Fitted, ServedSeen, replay_order};
pub use ledger::{
    Audits, Closed, CurvePoint, EntryView, Ledger, LedgerView, RosterMeta, Standing, StratumView,
};
pub use nouns::{Action, Approval, Decision, EntryOpened, Outcome, Stage, TaskId, Trial, TrialKind, Why};
pub use roster::{Roster, RosterEntry, RosterTask, Successor};
pub use task_policy::{KINDS, TaskPolicy};
