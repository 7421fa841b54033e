use serde::{Deserialize, Serialize};
use understudy_call::{ConversationKey, ExchangeId, Message};

use crate::{Report, Told};

/// A question and the provider's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it comes from.
    pub exchange: ExchangeId,
    /// Whose errand it was; made of the exchange's id where none is known.
    pub conversation: ConversationKey,
    /// Its place in the journal.
    pub seq: u64,
    /// Which part of the set it is in.
    pub split: Split,
    /// The part alone: neither system text nor tools.
    pub messages: Vec<Message>,
    /// What the engine's grammar makes the model write.
    pub reply: String,
    /// A text that follows no pattern, of a task that also calls tools: what is learnt is
    /// to leave it to the provider.
    pub defers: bool,
    /// The provider's own tokens with their alternatives, where the call asked for them.
    pub tokens: Vec<Told>,
    /// The tools that it calls, or its label where that is short.
    pub class: String,
    /// Exchanges that it stands for, itself included.
    pub stands_for: u64,
}

/// A part of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To learn from.
    Train,
    /// For stopping, and for the bar.
    Development,
    /// That nothing may look at before the report.
    Held,
}

impl Split {
    /// The name in files.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Development => "development",
            Self::Held => "held",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Curated {
    /// The rows in the journal's order, of all three parts.
    pub rows: Vec<Row>,
    /// In, out, and why.
    pub report: Report,
}

impl Curated {
    /// The rows of one part.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |r| r.split == split)
    }
}
