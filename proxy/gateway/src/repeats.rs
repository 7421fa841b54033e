//! The same messages within a minute of an understudy's answer go to the provider:
//! a wrong greedy answer must not come twice. Nor may it while an understudy is asked:
//! of equal calls at once, one is the understudy's. A retry may be warmer, streamed, or
//! for another model; the understudy would say the same, so the messages alone are
//! compared, those of one caller and one form.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use understudy_call::{Credential, FormHash, Request};
use understudy_tasks::HashKey;

const WINDOW: Duration = Duration::from_secs(60);

/// Answers remembered at once: some thousand calls a second for a minute would
/// be more than a sidecar sees; past it the oldest is forgotten.
const MOST: usize = 16_384;

/// The hash by which a repeat is known.
pub(crate) fn hash(key: &HashKey, who: Credential, form: FormHash, request: &Request) -> u64 {
    let mut asked = who.0.to_vec();
    asked.extend(form.0);
    // Always written: messages are made of texts, and memory takes everything.
    let _ = serde_json::to_writer(&mut asked, &request.messages);
    key.call(&asked)
}

#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<Answered>);

#[derive(Debug, Default)]
struct Answered {
    last: HashMap<u64, Instant>,
    order: VecDeque<(u64, Instant)>,
    /// With which an understudy is asked now; as many as calls are under way, at most.
    asked: HashSet<u64>,
}

impl Repeats {
    /// The place of a call (by its keyed hash) that an understudy may be asked; `None` where
    /// one answered it within the minute or is being asked.
    pub(crate) fn take(&self, call: u64, now: Instant) -> Option<Place<'_>> {
        let mut all = self.all();
        let recent = all.last.get(&call).is_some_and(|t| now.saturating_duration_since(*t) < WINDOW);
        if recent || !all.asked.insert(call) {
            return None;
        }
        Some(Place { all: self, call })
    }

    fn answered(&self, call: u64, now: Instant) {
        let mut all = self.all();
        let Answered { last, order, .. } = &mut *all;
        while let Some((old, t)) = order.front().copied() {
            if order.len() < MOST && now.saturating_duration_since(t) < WINDOW {
                break;
            }
            order.pop_front();
            if last.get(&old) == Some(&t) {
                last.remove(&old);
            }
        }
        last.insert(call, now);
        order.push_back((call, now));
    }

    fn all(&self) -> MutexGuard<'_, Answered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a call that an understudy is asked; given back when it is dropped, so
/// that one who declines, or whose agent goes away, keeps nobody from trying again.
#[derive(Debug)]
pub(crate) struct Place<'r> {
    all: &'r Repeats,
    call: u64,
}

impl Place<'_> {
    /// The understudy answered; the same call goes to the provider for a minute.
    pub(crate) fn answered(self, now: Instant) {
        self.all.answered(self.call, now);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.all().asked.remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an understudy may be asked; the place is given back.
    fn free(all: &Repeats, call: u64, now: Instant) -> bool {
        all.take(call, now).is_some()
    }

    #[test]
    fn the_same_messages_are_the_same_call_however_they_are_asked() {
        let key = HashKey::new([7; 32]);
        let (who, form) = (Credential([1; 16]), FormHash([2; 16]));
        let of = |body: &str| {
            let dialect = understudy_call::Dialect::OpenaiChat;
            let request = understudy_dialect::parse_request(dialect, body.as_bytes()).unwrap();
            hash(&key, who, form, &request)
        };
        let first = of(r#"{"model":"a","messages":[{"role":"user","content":"hi"}]}"#);
        for retry in [
            r#"{"model":"b","messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"a","temperature":1,"seed":7,"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{ "stream":true, "messages":[{"content":"hi","role":"user"}], "model":"a"}"#,
        ] {
            assert_eq!(of(retry), first, "{retry}");
        }
        assert_ne!(of(r#"{"model":"a","messages":[{"role":"user","content":"ho"}]}"#), first);
        let hi = r#"{"model":"a","messages":[{"role":"user","content":"hi"}]}"#;
        let request =
            understudy_dialect::parse_request(understudy_call::Dialect::OpenaiChat, hi.as_bytes()).unwrap();
        assert_ne!(hash(&key, Credential([9; 16]), form, &request), first, "another caller's");
        assert_ne!(hash(&key, who, FormHash([9; 16]), &request), first, "of another form");
    }

    #[test]
    fn a_call_repeats_for_a_minute() {
        let (all, now) = (Repeats::default(), Instant::now());
        all.take(1, now).unwrap().answered(now);
        assert!(!free(&all, 1, now + Duration::from_secs(59)));
        assert!(free(&all, 1, now + Duration::from_secs(60)));
        assert!(free(&all, 2, now));
    }

    #[test]
    fn of_equal_calls_at_once_one_has_the_place() {
        let (all, now) = (Repeats::default(), Instant::now());
        let place = all.take(1, now).unwrap();
        assert!(!free(&all, 1, now + Duration::from_secs(600)), "however long it takes");
        assert!(free(&all, 2, now));
        drop(place);
        assert!(free(&all, 1, now), "it declined");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (all, now) = (Repeats::default(), Instant::now());
        for i in 0..(MOST as u64 + 10) {
            all.take(i, now).unwrap().answered(now);
        }
        assert!(free(&all, 0, now));
        assert!(!free(&all, MOST as u64 + 9, now));
        all.take(7, now + WINDOW).unwrap().answered(now + WINDOW);
        let held = all.all();
        assert_eq!((held.last.len(), held.order.len(), held.asked.len()), (1, 1, 0));
    }
}
