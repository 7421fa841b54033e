//! What a ledger is told, in the order of the exchanges it is about.

use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, Declined, Lane, UnderstudyId};

use crate::{Action, EntryOpened, TaskPolicy, Trial};

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A call of the task was captured.
    Exchange(ExchangeSeen),
    /// A captured call was answered in the shadows, or a served one was examined.
    Trial(Trial),
    /// The gateway asked the serving understudy.
    Served(ServedSeen),
    /// A version was made, and its fit judged its own examples, each by a fit
    /// that had not seen it.
    Fitted(Fitted),
    /// An entry begins; see [`crate::Ledger::propose_entry`].
    EntryOpened(EntryOpened),
    /// The recorded calls end here: open conversations close.
    EndOfFile {
        /// The last place in the journal.
        seq: u64,
    },
    /// A person acted.
    Operator {
        /// What was done.
        action: Action,
        /// By whom.
        by: String,
        /// When, as a place in the journal.
        seq: u64,
    },
    /// An understudy's version can no longer answer.
    VersionGone {
        /// Which.
        understudy: UnderstudyId,
        /// When, as a place in the journal.
        seq: u64,
    },
    /// A volume of the journal was set aside: evidence starts again.
    JournalLost {
        /// When, as a place in the journal.
        seq: u64,
    },
    /// Whether the task's conversations have several turns, so that recorded
    /// histories are the provider's own. Journals from before calls said it
    /// themselves ([`ExchangeSeen::later_turn`]) have it.
    MultiTurn(bool),
    /// From here on the task is under these rules.
    Policy {
        /// The rules.
        policy: Box<TaskPolicy>,
        /// When, as a place in the journal.
        seq: u64,
        /// Whether the call of that place had been judged already, and what a person had
        /// done since; a task is met under its rules before its first call is.
        #[serde(default)]
        afterwards: bool,
    },
}

/// What the ledger needs to know of a captured call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangeSeen {
    /// Its place in the journal.
    pub seq: u64,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// What was done with it.
    pub lane: Lane,
    /// When it was made, Unix time in milliseconds; `None` where the record does not say.
    #[serde(default)]
    pub at_ms: Option<u64>,
    /// Milliseconds the provider took, where it answered and the record says so.
    #[serde(default)]
    pub provider_ms: Option<f64>,
    /// Milliseconds the agent waited, a decline before the provider included.
    #[serde(default)]
    pub total_ms: Option<f64>,
    /// Whether the agent got the understudy's answer.
    #[serde(default)]
    pub answered_by_understudy: bool,
    /// Whether the same body was seen within a day: it is no new evidence.
    #[serde(default)]
    pub repeats: bool,
    /// Whether it may be answered locally.
    #[serde(default = "yes")]
    pub eligible: bool,
    /// Whether its reply may call a tool that acts.
    #[serde(default)]
    pub acting: bool,
    /// Whether it shows trouble for the comparison with the control group: a
    /// tool error in its turn, a cut-off reply.
    #[serde(default)]
    pub troubled: bool,
    /// Whether a turn of the model stands before it: then its task has
    /// conversations of several turns.
    #[serde(default)]
    pub later_turn: bool,
}

fn yes() -> bool {
    true
}

/// What became of a call that the serving understudy was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedSeen {
    /// The call's place in the journal.
    pub seq: u64,
    /// Its conversation.
    pub conversation: ConversationKey,
    /// The entry that was asked.
    pub k: u32,
    /// Who was asked.
    pub understudy: UnderstudyId,
    /// Why it did not answer; `None` when it did.
    #[serde(default)]
    pub declined: Option<Declined>,
    /// Milliseconds it took.
    #[serde(default)]
    pub spent_ms: f64,
    /// Whether its output was not a valid reply.
    #[serde(default)]
    pub invalid: bool,
    /// Whether it missed its deadline after it had begun.
    #[serde(default)]
    pub late: bool,
}

/// What the fit of a version says of its examples: development, never evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The version.
    pub understudy: UnderstudyId,
    /// The place of its last example.
    pub seq: u64,
    /// The strata that the calls point to.
    pub strata: Vec<String>,
    /// The examples.
    pub calls: Vec<crate::bar::DevCall>,
}

impl Event {
    /// The place in the journal that it is about; `None` where it has none.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        Some(match self {
            Self::Exchange(e) => e.seq,
            Self::Trial(t) => t.seq,
            Self::Served(s) => s.seq,
            Self::Fitted(f) => f.seq,
            Self::EntryOpened(e) => e.after_seq,
            Self::EndOfFile { seq }
            | Self::Operator { seq, .. }
            | Self::VersionGone { seq, .. }
            | Self::JournalLost { seq }
            | Self::Policy { seq, .. } => *seq,
            Self::MultiTurn(_) => return None,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            // A call is judged by the rules that its task was met under.
            Self::MultiTurn(_) | Self::Policy { afterwards: false, .. } => 0,
            Self::Exchange(_) => 1,
            Self::Served(_) => 2,
            Self::Trial(_) => 3,
            _ => 4,
        }
    }
}

/// Puts events read back from a journal into the order in which a ledger takes
/// them: by the exchange that they are about, its capture first, then what was
/// served, then its trials, then what followed. The sort is stable.
///
/// A worker that handles one exchange after the other applies them in this
/// order by itself; the journal's order differs, since calls go on while the
/// worker is behind.
pub fn replay_order(events: &mut [Event]) {
    events.sort_by_key(|e| (e.seq().unwrap_or(0), e.rank()));
}
