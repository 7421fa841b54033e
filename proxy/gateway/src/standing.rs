//! Whom a provider serves: an understudy answers only a credential that the
//! provider accepted within the hour, and never past its rate limit.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::HeaderMap;
use understudy_call::Credential;

use crate::Fallback;

/// How long a provider's 2xx vouches for a credential.
const ACCEPTED_FOR: Duration = Duration::from_secs(3600);

/// How long a 429 holds when it does not say.
const LIMITED_FOR: Duration = Duration::from_secs(20);

/// The longest a 429 may hold; a provider that says more has not been asked again.
const LIMITED_MOST: Duration = Duration::from_secs(3600);

/// Credentials known at once. One agent has one or two; the oldest goes first.
const CREDENTIALS: usize = 4096;

/// A credential that was vouched for more recently than this is not written again,
/// so that busy calls only read.
const SETTLED: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Standings(RwLock<HashMap<Credential, Standing>>);

#[derive(Debug, Clone, Copy)]
struct Standing {
    accepted: Option<Instant>,
    limited_until: Option<Instant>,
}

impl Standings {
    /// Notes what the provider answered to a call in a decoded dialect.
    pub(crate) fn note(&self, who: Credential, status: u16, headers: &HeaderMap, now: Instant) {
        match status {
            200..=299 => self.accept(who, now),
            401 | 403 => self.change(who, now, |s| s.accepted = None),
            429 => {
                let held = retry_after(headers).unwrap_or(LIMITED_FOR).min(LIMITED_MOST);
                self.change(who, now, |s| s.limited_until = Some(now + held));
            }
            _ => {}
        }
    }

    /// Whether an understudy may answer this caller; the reason where not.
    pub(crate) fn check(&self, who: Credential, now: Instant) -> Result<(), Fallback> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(standing) = all.get(&who) else { return Err(Fallback::NotAccepted) };
        if standing.limited_until.is_some_and(|t| now < t) {
            return Err(Fallback::RateLimited);
        }
        match standing.accepted {
            Some(t) if now.saturating_duration_since(t) < ACCEPTED_FOR => Ok(()),
            _ => Err(Fallback::NotAccepted),
        }
    }

    fn accept(&self, who: Credential, now: Instant) {
        let settled = {
            let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
            all.get(&who).is_some_and(|s| {
                s.limited_until.is_none()
                    && s.accepted.is_some_and(|t| now.saturating_duration_since(t) < SETTLED)
            })
        };
        if !settled {
            self.change(who, now, |s| {
                s.accepted = Some(now);
                // Accepted again: a limit that is still said to hold does, one that has passed is forgotten.
                s.limited_until = s.limited_until.filter(|t| now < *t);
            });
        }
    }

    fn change(&self, who: Credential, now: Instant, f: impl FnOnce(&mut Standing)) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CREDENTIALS && !all.contains_key(&who) {
            let oldest = all.iter().min_by_key(|(_, s)| s.accepted.or(s.limited_until)).map(|(c, _)| *c);
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        let standing = all.entry(who).or_insert(Standing { accepted: None, limited_until: None });
        f(standing);
        if standing.limited_until.is_some_and(|t| t <= now) {
            standing.limited_until = None;
        }
    }
}

/// `retry-after-ms` (OpenAI) or `retry-after` in seconds; a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let secs = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(secs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(secs: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::RETRY_AFTER, secs.parse().unwrap())])
    }

    #[test]
    fn only_a_credential_that_was_accepted_within_the_hour_is_served() {
        let (all, now, who) = (Standings::default(), Instant::now(), Credential([1; 16]));
        assert_eq!(all.check(who, now), Err(Fallback::NotAccepted));
        all.note(who, 200, &HeaderMap::new(), now);
        assert_eq!(all.check(who, now + Duration::from_secs(3599)), Ok(()));
        assert_eq!(all.check(who, now + Duration::from_secs(3600)), Err(Fallback::NotAccepted));
        assert_eq!(all.check(Credential([2; 16]), now), Err(Fallback::NotAccepted));
        all.note(who, 401, &HeaderMap::new(), now);
        assert_eq!(all.check(who, now), Err(Fallback::NotAccepted));
    }

    #[test]
    fn a_rate_limit_holds_as_long_as_the_provider_says() {
        let (all, now, who) = (Standings::default(), Instant::now(), Credential([1; 16]));
        all.note(who, 200, &HeaderMap::new(), now);
        all.note(who, 429, &after("7"), now);
        assert_eq!(all.check(who, now + Duration::from_secs(6)), Err(Fallback::RateLimited));
        assert_eq!(all.check(who, now + Duration::from_secs(7)), Ok(()));
        all.note(who, 429, &HeaderMap::new(), now);
        assert_eq!(all.check(who, now + Duration::from_secs(19)), Err(Fallback::RateLimited));
    }

    #[test]
    fn credentials_are_bounded() {
        let (all, now) = (Standings::default(), Instant::now());
        for i in 0..=CREDENTIALS {
            let mut who = [0; 16];
            who[..8].copy_from_slice(&(i as u64).to_le_bytes());
            all.note(Credential(who), 200, &HeaderMap::new(), now + Duration::from_millis(i as u64));
        }
        assert_eq!(all.0.read().unwrap().len(), CREDENTIALS);
        assert_eq!(all.check(Credential([0; 16]), now), Err(Fallback::NotAccepted));
    }
}
