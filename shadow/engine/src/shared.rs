//! What the routes share.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use understudy_call::Declined;

use crate::adapters::Adapters;
use crate::embedding::Embed;
use crate::generation::Chat;

/// The models, and what is counted.
pub(crate) struct Engine {
    pub(crate) chat: Option<Arc<Chat>>,
    pub(crate) embed: Option<Arc<Embed>>,
    /// Where a folder of them was named; an error where the model takes none.
    pub(crate) adapters: Option<Result<Arc<Adapters>, ()>>,
    pub(crate) default_deadline: Duration,
    declined: Mutex<BTreeMap<&'static str, u64>>,
    keys: [RandomState; 2],
    drawn: AtomicU64,
}

impl Engine {
    pub(crate) fn new(
        chat: Option<Arc<Chat>>,
        embed: Option<Arc<Embed>>,
        adapters: Option<Result<Arc<Adapters>, ()>>,
        default_deadline: Duration,
    ) -> Self {
        Self {
            chat,
            embed,
            adapters,
            default_deadline,
            declined: Mutex::default(),
            keys: [RandomState::new(), RandomState::new()],
            drawn: AtomicU64::new(0),
        }
    }

    /// Its models in a word: whoever asks can tell by it that another engine answers.
    pub(crate) fn mark(&self) -> Option<HeaderValue> {
        let chat = self.chat.as_ref().map(|c| format!("{}@{}@{}", c.name, c.hash, c.provider));
        let embed = self.embed.as_ref().map(|e| format!("{}@{}@{}", e.name, e.hash, e.provider));
        let both: Vec<String> = [chat, embed].into_iter().flatten().collect();
        HeaderValue::from_str(&both.join(" ")).ok()
    }

    pub(crate) fn count(&self, why: Declined) {
        let mut counts = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(why.label()).or_default() += 1;
    }

    /// Asks that were not answered so far, by reason.
    pub(crate) fn declined(&self) -> BTreeMap<&'static str, u64> {
        self.declined.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number never drawn before, for ids and unseeded sampling: a keyed hash
    /// of a counter, under keys that the system drew.
    pub(crate) fn draw(&self) -> u128 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let [high, low] = &self.keys;
        u128::from(high.hash_one(n)) << 64 | u128::from(low.hash_one(n))
    }
}
