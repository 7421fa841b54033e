//! How often an engine that could not be asked is asked again.

use std::time::{Duration, Instant};

/// Tries in a row while the engine is away. With pauses of up to 16 seconds that is
/// a quarter of an hour: far more than it takes to start.
const AWAY: u32 = 60;

/// Tries in a row while the engine answers everybody else: an adapter that is
/// damaged, or of another base, is refused as often as it is asked.
const REFUSED: u32 = 5;

/// How often the pause doubles: from a quarter of a second to 16 seconds.
const DOUBLINGS: u32 = 6;

/// How the engine is when a question came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// It answers others.
    Answers,
    /// It is away, or has no room.
    Away,
}

/// The tries since the last answer.
#[derive(Debug, Default)]
pub(super) struct Tries {
    refused: u32,
    away: u32,
    until: Option<Instant>,
}

impl Tries {
    /// Whether it is too early for the next one.
    pub(super) fn rest(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// One was answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// One came to nothing, and the next one waits: at first for `pause`. `Some`
    /// with the reason where there is no next one.
    pub(super) fn failed(&mut self, engine: Engine, now: Instant, pause: Duration) -> Option<&'static str> {
        match engine {
            Engine::Answers => self.refused += 1,
            Engine::Away => self.away += 1,
        }
        let doublings = (self.refused + self.away - 1).min(DOUBLINGS);
        self.until = Some(now + pause.saturating_mul(1 << doublings));
        if self.refused >= REFUSED {
            return Some(
                "the engine answers, but not with this adapter, or not with the version before it: its log says whether one is damaged or of another base",
            );
        }
        (self.away >= AWAY).then_some("the engine was away for too long")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(250);

    /// Tries and time until it is given up.
    fn until_given_up(engine: Engine) -> (u32, Duration) {
        let mut tries = Tries::default();
        let (mut n, mut now) = (0, Instant::now());
        let began = now;
        loop {
            n += 1;
            if tries.failed(engine, now, PAUSE).is_some() {
                return (n, now - began);
            }
            assert!(tries.rest(now) && !tries.rest(tries.until.unwrap()));
            now = tries.until.unwrap();
        }
    }

    #[test]
    fn an_engine_that_is_away_is_waited_for_and_one_that_refuses_is_soon_believed() {
        let (n, took) = until_given_up(Engine::Away);
        assert!(
            n == AWAY && took > Duration::from_secs(600) && took < Duration::from_secs(1_200),
            "{took:?}"
        );
        let (n, took) = until_given_up(Engine::Answers);
        assert!(n == REFUSED && took < Duration::from_secs(10), "{took:?}");
    }

    #[test]
    fn an_answer_in_between_makes_them_begin_anew() {
        let (mut tries, now) = (Tries::default(), Instant::now());
        for _ in 1..REFUSED {
            assert_eq!(tries.failed(Engine::Answers, now, PAUSE), None);
        }
        tries.succeeded();
        assert!(!tries.rest(now));
        assert_eq!(tries.failed(Engine::Answers, now, PAUSE), None);
    }
}
