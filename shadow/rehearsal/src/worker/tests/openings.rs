//! Agents that bring examples as turns.

use super::*;

/// Questions that all come after the same example.
fn after_an_example(n: u64) -> Vec<Exchange> {
    let mut calls = questions(n);
    for call in &mut calls {
        let messages = &mut call.request.as_mut().unwrap().messages;
        messages.insert(1, Message::text_of(Role::User, "say one"));
        messages.insert(2, Message::text_of(Role::Assistant, "one"));
    }
    calls
}

#[tokio::test]
async fn calls_that_begin_with_the_same_examples_are_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let r = gone_through(&journal, after_an_example(200)).await;
    let report = &r.reports()[0];
    assert!(!report.evidence.entries.is_empty(), "{:#?}", report.evidence);
}

#[tokio::test]
async fn examples_are_neither_part_of_a_call_nor_earlier_turns_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(after_an_example(1_500)).unwrap();
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    // As `understudy rehearse` has it: of turns that an understudy answered there is no
    // record, so no task goes further that has them.
    let policy = TaskPolicy { multi_turn_max_stage: Stage::Canary { step: 0 }, ..loose() };
    let settings = Settings { mode: Mode::Recorded, policy, ..Settings::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let mut r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default());
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, 900).await;
    assert_eq!(r.reports()[0].evidence.stage, Stage::Canary { step: 0 });
    go_through(&mut r, &journal, 901, last).await;
    assert_eq!(r.reports()[0].evidence.stage, Stage::Live);

    let mut cursor = journal.cursor(0);
    let mut parts = Vec::new();
    while let Some((_, record)) = cursor.next().unwrap() {
        if let Record::Exchange(call) = record {
            parts.push(understudy_tasks::part(call.request.as_ref().unwrap(), call.meta.opening).text());
        }
    }
    assert!(parts[0].starts_with("user: say one\nassistant: one\nuser: hard say word0"), "{}", parts[0]);
    assert_eq!(parts[1_499], "say word1499");
}
