//! When versions are made.

use understudy_call::Embedder;

use super::adoptions::Engine;
use super::*;

#[tokio::test]
async fn a_fit_that_the_engine_was_away_for_is_made_when_it_is_back_and_not_at_the_next_doubling() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(120)).unwrap();
    let engine = Arc::new(Engine::default());
    let embedder: Arc<dyn Embedder> = Arc::<Engine>::clone(&engine);
    let cast = Arc::new(Cast::new(CastConfig::default(), Some(embedder), None, || 0));
    // Due at the 64th example and, if that one counted, at the 128th.
    let policy = TaskPolicy { first_fit: 64, ..loose() };
    let settings = Settings { mode: Mode::Recorded, policy, ..Settings::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let mut r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default());
    r.restore().await.unwrap();
    let is_measured = |r: &Rehearsal| r.reports()[0].tally.baselines.is_some();

    engine.away.store(true, Ordering::Relaxed);
    go_through(&mut r, &journal, 0, last - 20).await;
    assert!(!is_measured(&r));
    // Thirty-six examples after the fit was due.
    assert_eq!(engine.embedded.load(Ordering::Relaxed), 2, "it is tried again, and not at each example");
    engine.away.store(false, Ordering::Relaxed);
    go_through(&mut r, &journal, last - 19, last).await;
    assert!(is_measured(&r));
}
