//! When versions are made, and who is tried.

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

/// A worker whose echo needs the engine, and counts its trials.
fn with_a_head(journal: &Journal, engine_off: bool, trials: &Arc<AtomicUsize>) -> Rehearsal {
    let config = CastConfig { engine_off, ..CastConfig::default() };
    let cast = Arc::new(Cast::new(config, None, None, || 0));
    let settings = Settings { mode: Mode::Recorded, policy: loose(), ..Settings::default() };
    let trials = Arc::clone(trials);
    let told = move |what| {
        trials.fetch_add(usize::from(matches!(what, Happened::Trial(_))), Ordering::Relaxed);
    };
    let outlets = Outlets { told: Arc::new(told), ..Outlets::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, outlets);
    let echo = Echo(UnderstudyId("head-echo".into()));
    r.cast.publish(the_task(), Kind::Head, Arc::new(echo), 0, "echo");
    r
}

#[tokio::test]
async fn while_the_engine_is_off_who_needs_it_is_not_tried_and_does_not_serve_but_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(600)).unwrap();
    let trials = Arc::new(AtomicUsize::new(0));
    let mut on = with_a_head(&journal, false, &trials);
    on.restore().await.unwrap();
    go_through(&mut on, &journal, 0, last).await;
    assert_eq!((on.roster().tasks.len(), on.reports()[0].evidence.stage), (1, Stage::Live));
    let decisions = on.decisions().to_vec();
    assert!(trials.swap(0, Ordering::Relaxed) > 0);
    drop(on);

    let mut off = with_a_head(&journal, true, &trials);
    off.restore().await.unwrap();
    assert!(off.roster().tasks.is_empty());
    let more = (600..640).map(|i| exchange(i, &format!("say word{i}"), AnsweredBy::Provider)).collect();
    let end = journal.append_exchanges(more).unwrap();
    go_through(&mut off, &journal, last + 1, end).await;
    assert_eq!(trials.load(Ordering::Relaxed), 0);
    assert!(off.roster().tasks.is_empty());
    assert_eq!(off.decisions(), decisions, "what was earned stands");
    drop(off);

    let mut on = with_a_head(&journal, false, &trials);
    on.restore().await.unwrap();
    assert_eq!(on.roster().tasks.len(), 1, "it is back with the engine");
}

#[tokio::test]
async fn a_fit_that_fell_due_while_another_was_made_is_made_up_for_after_a_restart() {
    // Due at the 64th example and at the 128th, which came before the note on a fit.
    for (fitted, is_owed) in [(64, true), (128, false)] {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path());
        let last = journal.append_exchanges(questions(130)).unwrap();
        let engine = Arc::new(Engine::default());
        let worker = || {
            let embedder: Arc<dyn Embedder> = Arc::<Engine>::clone(&engine);
            let cast = Arc::new(Cast::new(CastConfig::default(), Some(embedder), None, || 0));
            let policy = TaskPolicy { first_fit: 64, ..loose() };
            let settings = Settings { mode: Mode::Recorded, policy, ..Settings::default() };
            let (book, pace) = (TaskBook::default(), Pace::free());
            Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default())
        };
        engine.away.store(true, Ordering::Relaxed);
        let mut before = worker();
        before.restore().await.unwrap();
        go_through(&mut before, &journal, 0, last).await;
        let measured = [understudy_cast::baseline::Measured::default(); 2];
        let json = serde_json::json!({"task": the_task(), "measured": measured, "learnt": fitted});
        journal.append(vec![Record::Note { kind: "baselines".to_owned(), json }]).unwrap();
        let next = |i: u64| vec![exchange(i, &format!("say word{i}"), AnsweredBy::Provider)];
        let noted = journal.append_exchanges(next(130)).unwrap();
        go_through(&mut before, &journal, noted, noted).await;
        drop(before);

        engine.away.store(false, Ordering::Relaxed);
        engine.embedded.store(0, Ordering::Relaxed);
        let mut after = worker();
        after.restore().await.unwrap();
        let end = journal.append_exchanges(next(131)).unwrap();
        go_through(&mut after, &journal, end, end).await;
        assert_eq!(engine.embedded.load(Ordering::Relaxed) > 0, is_owed, "fitted at {fitted}");
    }
}
