//! Measured speeds, from which it is said beforehand that an ask will be late.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Weight of the newest measurement: the last ten or so count.
const WEIGHT: f64 = 0.2;

/// Forms whose reply length is remembered; an engine serves few at a time.
const FORMS: usize = 512;

/// Running means. Durations in seconds.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    inner: Mutex<Means>,
}

#[derive(Debug, Default)]
struct Means {
    prompt_token: Option<f64>,
    reply_token: Option<f64>,
    whole: Option<f64>,
    /// Seconds of decoding, by the form of the ask.
    forms: HashMap<u64, f64>,
}

impl Speed {
    /// Takes a finished run into account.
    pub(crate) fn learn(
        &self,
        form: u64,
        computed: usize,
        prefill: Duration,
        reply: usize,
        decode: Duration,
    ) {
        let mut m = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A few tokens say more of the call's overhead than of the speed.
        if computed >= 16 {
            blend(&mut m.prompt_token, prefill.as_secs_f64() / computed as f64);
        }
        if reply >= 2 {
            blend(&mut m.reply_token, decode.as_secs_f64() / reply as f64);
        }
        blend(&mut m.whole, (prefill + decode).as_secs_f64());
        if m.forms.len() >= FORMS && !m.forms.contains_key(&form) {
            m.forms.clear();
        }
        let mut mean = m.forms.get(&form).copied();
        blend(&mut mean, decode.as_secs_f64());
        m.forms.insert(form, mean.unwrap_or_default());
    }

    /// Expected time of a run with so many prompt tokens to compute. An unseen
    /// form counts without its reply: it is given the benefit of the doubt once.
    pub(crate) fn expect(&self, form: u64, prompt_tokens: usize) -> Duration {
        let m = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let prefill = m.prompt_token.unwrap_or(0.0) * prompt_tokens as f64;
        let decode = m.forms.get(&form).copied().unwrap_or(0.0);
        Duration::try_from_secs_f64(prefill + decode).unwrap_or(Duration::MAX)
    }

    /// Mean time of a run.
    pub(crate) fn mean(&self) -> Duration {
        let m = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::try_from_secs_f64(m.whole.unwrap_or(0.0)).unwrap_or(Duration::MAX)
    }

    /// Tokens a second in prefill and decode; 0 before anything was measured.
    pub(crate) fn tokens_per_second(&self) -> (f64, f64) {
        let m = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = |s: Option<f64>| s.filter(|s| *s > 0.0).map_or(0.0, |s| 1.0 / s);
        (rate(m.prompt_token), rate(m.reply_token))
    }
}

fn blend(mean: &mut Option<f64>, new: f64) {
    *mean = Some(mean.map_or(new, |old| old + WEIGHT * (new - old)));
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_expected_before_anything_was_measured() {
        let s = Speed::default();
        assert_eq!(s.expect(1, 1000), Duration::ZERO);
        assert_eq!(s.tokens_per_second(), (0.0, 0.0));
    }

    #[test]
    fn expectation_is_prefill_by_token_and_decode_by_form() {
        let s = Speed::default();
        s.learn(1, 100, S, 50, 2 * S);
        assert_eq!(s.expect(1, 200), 4 * S);
        assert_eq!(s.expect(2, 200), 2 * S);
        assert_eq!(s.tokens_per_second(), (100.0, 25.0));
        assert_eq!(s.mean(), 3 * S);
    }

    #[test]
    fn the_means_follow_change() {
        let s = Speed::default();
        s.learn(1, 100, S, 50, S);
        for _ in 0..50 {
            s.learn(1, 100, 10 * S, 50, S);
        }
        assert!((s.tokens_per_second().0 - 10.0).abs() < 0.1);
    }
}
