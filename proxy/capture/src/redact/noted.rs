use std::collections::HashSet;
use std::sync::Arc;

use understudy_call::StandIns;

use super::Draw;
use super::told::Told;

/// Which values were replaced, each by the seed of its stand-in: two writings of one
/// value have the same, and nothing is said of the value.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    seeds: HashSet<[u8; 32]>,
    /// Numbers to look for in the rest of the exchange.
    told: Told,
    /// Those that are looked for, once every part was redacted, and nothing else is.
    sought: Option<Arc<Told>>,
}

impl Noted {
    pub(super) fn note(&mut self, draw: &Draw) {
        self.seeds.insert(draw.seed());
    }

    /// A number that the rest of the exchange may hold, too.
    pub(super) fn tell(&mut self, canonical: &str, value: &str) {
        self.told.tell(canonical, value);
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// From now on these numbers are looked for.
    pub(super) fn seek(&mut self, told: &Arc<Told>) {
        self.sought = Some(Arc::clone(told));
    }

    pub(super) fn sought(&self) -> Option<&Arc<Told>> {
        self.sought.as_ref()
    }

    /// Does something of which no value is noted: no understudy reads or learns it.
    pub(super) fn aside<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let seeds = std::mem::take(&mut self.seeds);
        let made = f(self);
        self.seeds = seeds;
        made
    }

    /// Notes what another has.
    pub(super) fn add(&mut self, other: &Self) {
        self.seeds.extend(&other.seeds);
        self.told.add(&other.told);
    }

    /// What these values, of a reply, are to those of its request.
    pub(crate) fn in_reply_to(&self, request: &Self) -> StandIns {
        if self.seeds.is_empty() {
            StandIns::None
        } else if self.seeds.is_subset(&request.seeds) {
            StandIns::Echoed
        } else {
            StandIns::Own
        }
    }
}
