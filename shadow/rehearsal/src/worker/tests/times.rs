//! Whose time is whose: the agent's, the provider's, the understudy's.

use super::*;

fn state() -> TaskState {
    TaskState::new(Ledger::new(TaskId(1), loose()))
}

fn timed(total_ms: u64) -> Exchange {
    let mut call = exchange(1, "say word", AnsweredBy::Provider);
    call.meta.timings.total = Some(Duration::from_millis(total_ms));
    call
}

#[test]
fn an_audited_agent_did_not_wait_for_the_provider() {
    let mut audited = timed(60);
    audited.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("remote-echo".into()));
    audited.meta.lane = Lane::Audit;
    audited.meta.timings.understudy = Some(Duration::from_millis(50));
    audited.meta.timings.audit = Some(Duration::from_millis(450));
    let seen = state().seen(1, &audited, false);
    assert_eq!((seen.total_ms, seen.provider_ms), (Some(60.0), Some(450.0)));

    // Once, the provider's time took the place of the agent's.
    audited.meta.timings.audit = None;
    let seen = state().seen(1, &audited, false);
    assert_eq!((seen.total_ms, seen.provider_ms), (None, None));
}

#[test]
fn an_error_is_no_measure_of_how_long_an_answer_takes() {
    let mut state = state();
    for ms in [400, 410, 420] {
        assert_eq!(state.seen(1, &timed(ms), false).provider_ms, Some(ms as f64));
    }
    for _ in 0..50 {
        let mut failed = timed(5);
        failed.meta.status = 529;
        assert_eq!(state.seen(1, &failed, false).provider_ms, None);
    }
    assert_eq!(state.median_ms(), Some(410.0));
}

#[tokio::test]
async fn a_log_with_times_holds_an_understudy_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let calls = questions(600).into_iter().map(|mut call| {
        call.meta.timings.total = Some(Duration::from_millis(1));
        call
    });
    let last = journal.append_exchanges(calls.collect()).unwrap();
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    // Nobody answers in no time.
    let settings =
        Settings { mode: Mode::Recorded, policy: loose(), budget_ms: Some(0.0), ..Settings::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let mut r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default());
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let tally = &r.reports()[0].tally;
    assert_eq!(tally.served, 0);
    assert!(tally.declined["too_slow"] > 0, "{tally:?}");
}
