//! Where a provider is: the addresses of its name, looked up aside while old ones serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pingora_error::{Error, ErrorType, Result};

use super::Upstream;

/// How long looked-up addresses are taken as they are. After that the old ones
/// still serve while new ones are looked up, so that no call waits for DNS twice.
const ADDRESSES_FRESH: Duration = Duration::from_secs(30);

/// How long they serve like that. After an idle hour the provider may be elsewhere,
/// and an agent without us would ask; so the next call waits for the answer.
const ADDRESSES_KEPT: Duration = Duration::from_secs(300);

/// Between two look-ups, however many calls cannot be connected.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(1);

/// For a look-up that a call waits for.
const LOOK_UP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<SocketAddr>,
    /// When they were found.
    pub(super) when: Instant,
    /// When the last look-up ended, whatever came of it.
    pub(super) tried: Instant,
}

/// What is done about the addresses before one of them is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    No,
    /// They serve while new ones are looked up.
    Aside,
    /// They are looked up first.
    First,
}

impl Upstream {
    /// An address did not answer: the next try takes another, and looks the name up before:
    /// a provider that was started anew may be elsewhere. Of many calls that it failed at
    /// once the first moves on, or an even number of them would come back to it.
    pub(crate) fn move_on(&self, failed: SocketAddr) {
        let at = self.at.load(Ordering::Relaxed);
        if self.picked_at(at, &self.found.load()) == Some(failed) {
            let _ = self.at.compare_exchange(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        }
        self.doubted.store(true, Ordering::Release);
    }

    pub(super) async fn address(self: &Arc<Self>, now: Instant) -> Result<SocketAddr> {
        let found = self.found.load_full();
        match self.look(&found, now) {
            Look::No => {}
            Look::Aside => self.renew_aside(now),
            // In a box of its own, since most calls look nothing up.
            Look::First => {
                Box::pin(self.renew(now)).await?;
                return self.pick(&self.found.load()).ok_or_else(|| self.unknown("no address"));
            }
        }
        self.pick(&found).ok_or_else(|| self.unknown("no address"))
    }

    pub(super) fn look(&self, found: &Found, now: Instant) -> Look {
        let age = now.saturating_duration_since(found.when);
        let tried = now.saturating_duration_since(found.tried);
        let doubted = self.doubted.load(Ordering::Acquire) && tried >= LOOK_UP_AGAIN;
        // Where look-ups fail while calls flow, no call waits for the next of them.
        let old = age >= ADDRESSES_KEPT && tried >= ADDRESSES_FRESH;
        if found.addresses.is_empty() || doubted || old {
            Look::First
        } else if age >= ADDRESSES_FRESH && tried >= LOOK_UP_AGAIN {
            Look::Aside
        } else {
            Look::No
        }
    }

    fn renew_aside(self: &Arc<Self>, now: Instant) {
        if self.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        let me = Arc::clone(self);
        tokio::spawn(async move {
            // There are old ones, so it does not fail.
            let _ = me.renew(now).await;
            me.looking.store(false, Ordering::Release);
        });
    }

    /// Looks the name up for who came at this time. The old addresses stay where it cannot
    /// be done; it fails where there are none.
    pub(super) async fn renew(&self, came: Instant) -> Result<()> {
        let _asking = self.asking.lock().await;
        let old = self.found.load_full();
        if old.tried >= came {
            // Another's look-up ended while this call waited for its turn.
            return Ok(());
        }
        // Before it begins: what cannot be connected to from now on is in doubt again.
        let mut doubt = Doubt::take(&self.doubted);
        let asked = self.look_up().await;
        // The only one that there was is in use no more than others if it did not answer.
        let doubted = doubt.was || self.doubted.load(Ordering::Acquire);
        let used = self.pick(&old).filter(|_| !doubted || old.addresses.len() > 1);
        doubt.settle();
        let now = Instant::now();
        let (found, failed) = match asked {
            Ok(mut addresses) => {
                self.go_on_with(used, &mut addresses);
                (Found { addresses, when: now, tried: now }, None)
            }
            Err(e) => (Found { addresses: old.addresses.clone(), when: old.when, tried: now }, Some(e)),
        };
        let none = found.addresses.is_empty();
        self.found.store(Arc::new(found));
        match failed {
            Some(e) if none => Err(e),
            Some(e) => {
                tracing::warn!(provider = %self.name, error = %e, "keeping the provider's old addresses");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Puts the address in use where it is picked again, if it is among the new ones. Names
    /// with many addresses give them in another order each time, and connections that are
    /// open are found by their address.
    pub(super) fn go_on_with(&self, used: Option<SocketAddr>, addresses: &mut [SocketAddr]) {
        let Some(at) = used.and_then(|used| addresses.iter().position(|a| *a == used)) else { return };
        if let Some(next) = self.at.load(Ordering::Relaxed).checked_rem(addresses.len()) {
            addresses.swap(at, next);
        }
    }

    pub(super) fn pick(&self, found: &Found) -> Option<SocketAddr> {
        self.picked_at(self.at.load(Ordering::Relaxed), found)
    }

    fn picked_at(&self, at: usize, found: &Found) -> Option<SocketAddr> {
        found.addresses.get(at.checked_rem(found.addresses.len())?).copied()
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>> {
        let asked = tokio::net::lookup_host((self.origin.host.as_str(), self.origin.port));
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(LOOK_UP, asked).await {
            Ok(Ok(all)) => all.collect(),
            Ok(Err(e)) => return Err(self.unknown(&e.to_string())),
            Err(_) => return Err(self.unknown("no answer in time")),
        };
        if addresses.is_empty() {
            return Err(self.unknown("no address"));
        }
        Ok(addresses)
    }

    fn unknown(&self, why: &str) -> Box<Error> {
        Error::explain(ErrorType::ConnectNoRoute, format!("looking up {}: {why}", self.origin.host)).into_up()
    }
}

/// The doubt about the addresses while they are looked up. It is put back where the
/// look-up is given up before it has come back, as when the agent that waits for it hangs
/// up: nothing was learnt then, and the next call must ask again.
struct Doubt<'u> {
    doubted: &'u AtomicBool,
    /// Whether there is one to put back.
    was: bool,
}

impl<'u> Doubt<'u> {
    fn take(doubted: &'u AtomicBool) -> Self {
        Self { doubted, was: doubted.swap(false, Ordering::AcqRel) }
    }

    /// The look-up has come back.
    fn settle(&mut self) {
        self.was = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.was {
            self.doubted.store(true, Ordering::Release);
        }
    }
}
