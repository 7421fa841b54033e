//! What is kept is bounded by its bytes.

use super::*;

#[test]
fn long_examples_are_kept_by_their_bytes_and_short_ones_by_their_number() {
    let mut state = TaskState::new(Ledger::new(TaskId(1), loose()));
    let long = "word ".repeat(200_000);
    for n in 0..100 {
        let call = exchange(n, &format!("say {long}{n}"), AnsweredBy::Provider);
        state.learn(Example::of(n, &call).unwrap(), 8192);
    }
    // A megabyte each, counted twice.
    assert!((25..=34).contains(&state.examples.len()), "{}", state.examples.len());
    assert_eq!((state.learnt, state.examples.back().unwrap().seq), (100, 99));
    for n in 100..400 {
        let call = exchange(n, &format!("say {n}"), AnsweredBy::Provider);
        state.learn(Example::of(n, &call).unwrap(), 50);
    }
    assert_eq!(state.examples.len(), 50);
}

#[tokio::test]
async fn a_reply_whose_words_are_not_known_is_learnt_by_nobody_and_agreed_with_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let calls = questions(100).into_iter().map(|mut call| {
        call.reply = Some(said("write to desk@corp.com"));
        call
    });
    let last = journal.append_exchanges(calls.collect()).unwrap();
    let trials = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&trials);
    let told = Arc::new(move |what| {
        if let Happened::Trial(t) = what {
            seen.lock().unwrap().push(t.outcome.clone());
        }
    });
    let mut r = rehearsal(&journal, Mode::Recorded, Outlets { told, ..Outlets::default() });
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    assert_eq!(r.tasks.values().map(|s| s.learnt).sum::<u64>(), 0);
    let trials = trials.lock().unwrap();
    assert!(!trials.is_empty(), "it is evidence all the same");
    assert!(trials.iter().all(|o| matches!(o, Outcome::Answered { agrees: false, .. })), "{trials:?}");
}
