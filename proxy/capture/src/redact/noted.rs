use std::collections::HashSet;

use understudy_call::StandIns;

use super::Draw;

/// Which values were replaced, each by the seed of its stand-in: two writings of one
/// value have the same, and nothing is said of the value.
#[derive(Debug, Default)]
pub(crate) struct Noted(HashSet<[u8; 32]>);

impl Noted {
    pub(super) fn note(&mut self, draw: &Draw) {
        self.0.insert(draw.seed());
    }

    /// Notes what another has.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// What these values, of a reply, are to those of its request.
    pub(crate) fn in_reply_to(&self, request: &Self) -> StandIns {
        if self.0.is_empty() {
            StandIns::None
        } else if self.0.is_subset(&request.0) {
            StandIns::Echoed
        } else {
            StandIns::Own
        }
    }
}
