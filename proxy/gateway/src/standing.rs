//! Whom a provider serves: an understudy answers only a credential that the
//! provider accepted within the hour, and never past its rate limit.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::HeaderMap;
use understudy_call::Credential;

use crate::{Fallback, call};

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
                // Of two limits (requests, tokens) the longer holds, whichever is said last.
                self.change(who, now, |s| s.limited_until = s.limited_until.max(Some(now + held)));
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

/// `retry-after-ms` (OpenAI), or `retry-after` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    if let Some(secs) = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after")) {
        return Duration::try_from_secs_f64(secs).ok();
    }
    let until = unix_seconds(text("retry-after")?)?;
    // By the provider's own clock, where it says what that shows.
    let now = text("date").and_then(unix_seconds).unwrap_or_else(|| call::unix_ms() / 1000);
    u64::try_from(until.saturating_sub(now)).ok().map(Duration::from_secs)
}

/// A date as every server writes it, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
/// The two forms that nobody has written since 1999 are not read.
fn unix_seconds(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = date.split_once(", ")?;
    let mut words = date.split(' ');
    let mut word = || words.next();
    let (day, month, year, time, zone) = (word()?, word()?, word()?, word()?, word()?);
    let mut clock = time.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let (day, year) = (day.parse::<i64>().ok()?, year.parse::<i64>().ok()?);
    let sound = zone == "GMT"
        && (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !sound {
        return None;
    }
    // Days since 1970, in years that begin in March, so that a leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
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
    fn of_two_rate_limits_the_longer_holds() {
        let (all, now, who) = (Standings::default(), Instant::now(), Credential([1; 16]));
        all.note(who, 200, &HeaderMap::new(), now);
        all.note(who, 429, &after("300"), now);
        all.note(who, 429, &after("2"), now + Duration::from_secs(1));
        assert_eq!(all.check(who, now + Duration::from_secs(299)), Err(Fallback::RateLimited));
        assert_eq!(all.check(who, now + Duration::from_secs(300)), Ok(()));
    }

    #[test]
    fn a_rate_limit_may_be_said_as_a_date() {
        let held = |now: &str, until: &str| {
            let mut said = after(until);
            said.insert(http::header::DATE, now.parse().unwrap());
            retry_after(&said)
        };
        let now = "Sun, 31 Dec 2023 23:59:30 GMT";
        assert_eq!(held(now, "Mon, 01 Jan 2024 00:01:00 GMT"), Some(Duration::from_secs(90)));
        let leap = held("Wed, 28 Feb 2024 00:00:00 GMT", "Fri, 01 Mar 2024 00:00:00 GMT");
        assert_eq!(leap, Some(Duration::from_secs(2 * 86_400)));
        assert_eq!(held(now, "Sun, 31 Dec 2023 23:59:00 GMT"), None, "it is over");
        let odd =
            ["soon", "Mon, 01 Jan 2024", "Mon, 01 Foo 2024 00:01:00 GMT", "Mon, 01 Jan 2024 00:61:00 GMT"];
        for odd in odd {
            assert_eq!(held(now, odd), None, "{odd}");
        }
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
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
