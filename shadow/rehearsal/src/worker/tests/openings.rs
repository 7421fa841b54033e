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

/// The calls as the journal has them, and the tasks of the first and of the last.
fn recorded(journal: &Journal) -> (Vec<Exchange>, [TaskId; 2]) {
    let mut cursor = journal.cursor(0);
    let mut calls = Vec::new();
    while let Some((_, record)) = cursor.next().unwrap() {
        if let Record::Exchange(call) = record {
            calls.push(call);
        }
    }
    let task =
        |call: &Exchange| understudy_tasks::task_id(call.meta.form.unwrap(), Some(call.meta.credential));
    let tasks = [task(&calls[0]), task(calls.last().unwrap())];
    (calls, tasks)
}

#[tokio::test]
async fn calls_that_all_bring_the_same_examples_go_live_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(after_an_example(700)).unwrap();
    let (calls, [without, with]) = recorded(&journal);
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    // As `understudy rehearse` has it: of turns that an understudy answered there is no
    // record, so no task goes further that has them.
    let policy = TaskPolicy { multi_turn_max_stage: Stage::Canary { step: 0 }, ..loose() };
    let settings = Settings { mode: Mode::Recorded, policy, ..Settings::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let mut r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default());
    let echo = || Arc::new(Echo(UnderstudyId("remote-echo".into())));
    r.cast.publish(with, Kind::Remote, echo(), 0, "echo");
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let reports = r.reports();
    let of = |task: TaskId| reports.iter().find(|r| r.evidence.task == task).unwrap();
    assert_eq!(of(with).evidence.stage, Stage::Live, "{:#?}", of(with).evidence);
    assert!(!of(with).evidence.multi_turn && of(without).evidence.multi_turn);

    // Eight questions make it an opening, 32 conversations a form.
    let parts: Vec<String> = calls
        .iter()
        .map(|call| understudy_tasks::part(call.request.as_ref().unwrap(), call.meta.opening).text())
        .collect();
    let (learning, learnt) = parts.split_at(8 - 1 + 32 - 1);
    assert!(learning.iter().all(|p| p.starts_with("user: say one\nassistant: one\nuser: ")), "{learning:?}");
    assert!(learnt.iter().all(|p| p.starts_with("say word") || p.starts_with("hard say")), "{learnt:?}");
    assert_eq!(of(without).evidence.calls, learning.len() as u64);
}
