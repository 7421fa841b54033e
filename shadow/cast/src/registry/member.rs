//! An understudy as tables show it.

use serde::{Deserialize, Serialize};
use understudy_call::UnderstudyId;
use understudy_policy::TaskId;

/// What kind of understudy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A linear head over embeddings.
    Head,
    /// The base model with examples.
    Prompted,
    /// The base model with an adapter.
    Specialised,
    /// A server elsewhere.
    Remote,
}

impl Kind {
    /// The name used in tables and ids.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Prompted => "prompted",
            Self::Specialised => "specialised",
            Self::Remote => "remote",
        }
    }

    /// The cheapest is asked first.
    #[must_use]
    pub fn cost_rank(self) -> u8 {
        match self {
            Self::Head => 0,
            Self::Prompted => 1,
            Self::Specialised => 2,
            Self::Remote => 3,
        }
    }
}

/// One understudy of a task, as tables show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CastMember {
    /// Its name, exact to the version.
    pub id: UnderstudyId,
    /// Its task.
    pub task: TaskId,
    /// Its kind.
    pub kind: Kind,
    /// The cheapest is asked first.
    pub cost_rank: u8,
    /// What it is made of, for people; no content.
    pub version_note: String,
    /// It knows nothing of the journal after this place: only later calls are trials of it.
    pub born_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_may_name_every_kind() {
        let all = [Kind::Head, Kind::Prompted, Kind::Specialised, Kind::Remote];
        assert_eq!(all.map(Kind::label), understudy_policy::KINDS);
    }
}
