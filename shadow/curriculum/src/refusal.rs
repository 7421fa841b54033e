//! What cannot train an understudy, and why.

use crate::{Reason, Report, Split};

impl Report {
    /// Why these rows cannot train an understudy; `None` where they can.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let train = self.split(Split::Train);
        // As the trainer counts them.
        let train = train.rows - train.left;
        let least = self.rules.least_rows as u64;
        let not_permitted = self.count(Reason::NotPermitted);
        if self.exchanges == 0 {
            return Some(Refusal::NothingRecorded { task: self.name.clone() });
        }
        if train < least && not_permitted > 0 {
            let names =
                self.providers.iter().filter(|(_, (_, p))| p.is_none()).map(|(name, _)| name.as_str());
            return Some(Refusal::NotPermitted {
                provider: names.collect::<Vec<_>>().join(", "),
                rows: not_permitted,
            });
        }
        if self.rows == 0 && self.count(Reason::EmptyPart) > 0 {
            return Some(Refusal::EmptyPart { rows: self.count(Reason::EmptyPart) });
        }
        if train < least {
            return Some(Refusal::TooFewRows { rows: train, least });
        }
        (self.replies < 2).then_some(Refusal::OneReply)
    }
}

/// Why rows cannot train an understudy, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no exchange of the task.
    #[error("nothing of {task} is in the journal: let its agent run through the proxy first")]
    NothingRecorded {
        /// Its name.
        task: String,
    },
    /// The operator has not permitted it.
    #[error(
        "{rows} exchanges come from a provider on whose replies training is not permitted ({provider}): if its terms allow it, set providers.NAME.train = true"
    )]
    NotPermitted {
        /// Its configured name, or names.
        provider: String,
        /// Exchanges.
        rows: u64,
    },
    /// All calls are the same.
    #[error("nothing varies in {rows} exchanges: a cache answers them, no model is needed")]
    EmptyPart {
        /// Exchanges.
        rows: u64,
    },
    /// Not enough to learn from.
    #[error(
        "{rows} training rows with a reply to learn are too few, {least} are needed: record more calls; the report says what was left out"
    )]
    TooFewRows {
        /// Training rows, without those that are left to the provider.
        rows: u64,
        /// The least number.
        least: u64,
    },
    /// There is nothing to tell apart.
    #[error(
        "every training row has the same reply: there is nothing to learn; record calls that are answered differently"
    )]
    OneReply,
}

impl Refusal {
    /// The name used in counters and by programs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NothingRecorded { .. } => "nothing_recorded",
            Self::NotPermitted { .. } => "not_permitted",
            Self::EmptyPart { .. } => "empty_part",
            Self::TooFewRows { .. } => "too_few_rows",
            Self::OneReply => "one_reply",
        }
    }
}
