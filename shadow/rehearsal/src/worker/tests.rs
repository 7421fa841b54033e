use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use understudy_call::{
    Answer, AnsweredBy, Ask, Choice, Credential, Declined, Dialect, ExchangeId, Finish, Message, Metadata,
    Part, Reply, Request, Responder, Role,
};
use understudy_capture::{FileKey, Hooks, JournalConfig};
use understudy_cast::{CastConfig, Kind};
use understudy_policy::{Approval, Outcome, Stage};
use understudy_tasks::Conversations;

use super::*;

mod adoptions;
mod fits;
mod memory;
mod openings;
mod rules;
mod times;

/// Answers with the question's last word, and is wrong where the question says "hard".
struct Echo(UnderstudyId);

impl Responder for Echo {
    fn id(&self) -> &UnderstudyId {
        &self.0
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        let text = ask.request.messages.last().unwrap().text();
        let hard = text.contains("hard");
        let answer = if hard { "wrong".to_owned() } else { last_word(&text) };
        let answer = Answer {
            reply: said(&answer),
            confidence: if hard { 0.1 } else { 0.9 },
            stratum: "text".to_owned(),
            spent: Duration::from_millis(1),
        };
        Box::pin(async move { Ok(answer) })
    }
}

fn last_word(text: &str) -> String {
    text.split(' ').next_back().unwrap().to_owned()
}

fn said(text: &str) -> Reply {
    let choice =
        Choice { content: vec![Part::Text(text.into())], finish: Some(Finish::Stop), ..Choice::default() };
    Reply { choices: vec![choice], ..Reply::default() }
}

fn exchange(n: u64, question: &str, answered_by: AnsweredBy) -> Exchange {
    let request = Request {
        model: "m".into(),
        messages: vec![Message::text_of(Role::System, "Repeat."), Message::text_of(Role::User, question)],
        ..Request::default()
    };
    let mut id = [0u8; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Exchange::new(
        ExchangeId(id),
        Metadata { answered_by, ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16])) },
        Some(request),
        Some(said(&last_word(question))),
    )
}

fn key() -> HashKey {
    HashKey::new([3; 32])
}

fn journal(dir: &std::path::Path) -> Journal {
    let conversations = Conversations::new(key());
    let hooks = Hooks {
        fingerprint: Arc::new(move |d, r: &Request, c, e| {
            conversations.of(c, understudy_tasks::fingerprint(d, r), e, r)
        }),
        audit: Arc::new(|_, _, _| 1.0),
    };
    let config =
        JournalConfig { dir: dir.join("journal"), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() };
    Journal::open(config, Arc::new(FileKey::from_bytes(&[5; 32]).unwrap()), hooks).unwrap()
}

fn loose() -> TaskPolicy {
    TaskPolicy {
        tau: 0.8,
        alpha: 0.1,
        steps: vec![0.5],
        step_conversations: 10,
        observe_calls: 5,
        dev_conversations: 30,
        stratum_min: 5,
        conversation_gap: 5,
        first_fit: 1_000_000,
        approval: Approval::Never,
        ..TaskPolicy::default()
    }
}

fn rehearsal(journal: &Journal, mode: Mode, outlets: Outlets) -> Rehearsal {
    paced(journal, mode, outlets, Pace::free())
}

fn paced(journal: &Journal, mode: Mode, outlets: Outlets, pace: Pace) -> Rehearsal {
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    let settings = Settings { mode, policy: loose(), ..Settings::default() };
    Rehearsal::new(settings, journal.clone(), cast, key(), TaskBook::default(), pace, outlets)
}

/// The one task that these tests have.
fn the_task() -> TaskId {
    let probe = exchange(0, "probe", AnsweredBy::Provider);
    let form = understudy_tasks::fingerprint(Dialect::OpenaiChat, probe.request.as_ref().unwrap());
    understudy_tasks::task_id(form, Some(Credential([1; 16])))
}

/// Publishes the echo for it.
fn publish(r: &Rehearsal) {
    r.cast.publish(the_task(), Kind::Remote, Arc::new(Echo(UnderstudyId("remote-echo".into()))), 0, "echo");
}

async fn go_through(r: &mut Rehearsal, journal: &Journal, from: u64, until: u64) {
    let mut cursor = journal.cursor(from);
    while let Some((seq, record)) = cursor.next().unwrap() {
        if seq > until {
            break;
        }
        r.take(seq, record).await.unwrap();
    }
    r.flush().await.unwrap();
}

fn questions(n: u64) -> Vec<Exchange> {
    (0..n)
        .map(|i| {
            let question = if i % 10 == 0 { format!("hard say word{i}") } else { format!("say word{i}") };
            exchange(i, &question, AnsweredBy::Provider)
        })
        .collect()
}

#[tokio::test]
async fn a_recorded_task_earns_its_stages_and_declines_what_it_gets_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(600)).unwrap();
    let mut r = rehearsal(&journal, Mode::Recorded, Outlets::default());
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    r.end_of_file().await.unwrap();
    let report = &r.reports()[0];
    assert_eq!(report.evidence.stage, Stage::Live, "{:#?}", report.evidence);
    assert_eq!(report.tally.wrong, 0, "the bar keeps the hard ones away");
    assert!(report.tally.declined["below_bar"] > 0);
    assert!(report.tally.served > 100);
    assert!(report.tally.control > 0, "a share stays with the provider");
}

/// The first task's counts, without the time that anything took.
fn counts(r: &Rehearsal) -> Tally {
    Tally { understudy_ms: (0.0, 0), ..r.reports()[0].tally.clone() }
}

#[tokio::test]
async fn restart_equals_replay_at_any_place() {
    let dir = tempfile::tempdir().unwrap();
    let straight = {
        let journal = journal(&dir.path().join("straight"));
        let last = journal.append_exchanges(questions(400)).unwrap();
        let mut r = rehearsal(&journal, Mode::Recorded, Outlets::default());
        publish(&r);
        r.restore().await.unwrap();
        go_through(&mut r, &journal, 0, last).await;
        let view = r.reports()[0].evidence.clone();
        journal.close();
        (view, r.decisions().to_vec(), counts(&r))
    };
    for cut in [3u64, 57, 128, 250, 399] {
        let home = dir.path().join(format!("cut{cut}"));
        let journal_a = journal(&home);
        let last = journal_a.append_exchanges(questions(400)).unwrap();
        let mut a = rehearsal(&journal_a, Mode::Recorded, Outlets::default());
        publish(&a);
        a.restore().await.unwrap();
        go_through(&mut a, &journal_a, 0, last - (400 - cut)).await;
        drop(a);
        journal_a.close();

        let journal_b = journal(&home);
        let mut b = rehearsal(&journal_b, Mode::Recorded, Outlets::default());
        publish(&b);
        let from = b.restore().await.unwrap();
        go_through(&mut b, &journal_b, from, last).await;
        assert_eq!(b.reports()[0].evidence, straight.0, "cut at {cut}");
        assert_eq!(b.decisions(), straight.1, "cut at {cut}");
        assert_eq!(counts(&b), straight.2, "cut at {cut}");
        journal_b.close();
    }
}

#[tokio::test]
async fn an_understudys_answer_is_never_a_reference_and_never_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut calls = questions(40);
    calls.extend((40..80).map(|i| {
        exchange(i, &format!("say word{i}"), AnsweredBy::Understudy(UnderstudyId("remote-echo".into())))
    }));
    let last = journal.append_exchanges(calls).unwrap();
    let trials = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&trials);
    let told = Arc::new(move |what| {
        if let Happened::Trial(t) = what {
            seen.lock().unwrap().push(t.seq);
        }
    });
    let mut r = rehearsal(&journal, Mode::Live, Outlets { told, ..Outlets::default() });
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let first_of_understudy = last - 39;
    let trials = trials.lock().unwrap();
    assert!(!trials.is_empty());
    assert!(trials.iter().all(|seq| *seq < first_of_understudy), "{trials:?}");
    let learnt = r.tasks.values().map(|s| s.learnt).sum::<u64>();
    assert_eq!(learnt, 40);
}

#[tokio::test]
async fn nothing_is_published_before_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(600)).unwrap();
    let written = Arc::new(Mutex::new(Vec::new()));
    let (seen, reader) = (Arc::clone(&written), journal.clone());
    let roster = Arc::new(move |roster: Roster| {
        // What the roster says must be in the journal by now.
        let mut cursor = reader.cursor(0);
        let mut stage = Stage::Observing;
        while let Some((_, record)) = cursor.next().unwrap() {
            if let Record::Decision(d) = record {
                stage = d.to;
            }
        }
        seen.lock().unwrap().push((roster.tasks.first().map(|t| t.stage), stage));
    });
    let mut r = rehearsal(&journal, Mode::Recorded, Outlets { roster, ..Outlets::default() });
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let written = written.lock().unwrap();
    assert!(!written.is_empty());
    for (published, durable) in written.iter() {
        if let Some(published) = published {
            assert_eq!(published, durable);
        }
    }
}

/// A worker that has gone through these calls.
async fn gone_through(journal: &Journal, calls: Vec<Exchange>) -> Rehearsal {
    let last = journal.append_exchanges(calls).unwrap();
    let mut r = rehearsal(journal, Mode::Recorded, Outlets::default());
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, journal, 0, last).await;
    r
}

#[tokio::test]
async fn repeats_within_a_day_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let calls = (0..50).map(|i| exchange(i, "say again", AnsweredBy::Provider)).collect();
    let r = gone_through(&journal, calls).await;
    let report = &r.reports()[0];
    assert_eq!(report.tally.repeats, 49);
    assert!(report.evidence.entries.is_empty());
}

#[test]
fn outcomes_carry_what_the_bar_needs() {
    let o = Outcome::Answered { score: 1.0, agrees: true, confidence: 0.5, stratum: "x".into() };
    assert_eq!(serde_json::from_value::<Outcome>(serde_json::to_value(&o).unwrap()).unwrap(), o);
}

#[tokio::test]
async fn a_crowd_holds_the_journal_up_only_while_nothing_serves() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(600)).unwrap();
    let (crowd, tried) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let pause = Arc::clone(&crowd);
    let pace = Pace::new(1.0, Arc::new(move || pause.load(Ordering::Relaxed)));
    let outlets = || {
        let tried = Arc::clone(&tried);
        let told = move |what| {
            tried.fetch_add(usize::from(matches!(what, Happened::Trial(_))), Ordering::Relaxed);
        };
        Outlets { told: Arc::new(told), ..Outlets::default() }
    };
    let mut r = paced(&journal, Mode::Recorded, outlets(), pace.clone());
    publish(&r);
    r.restore().await.unwrap();
    let moment = Duration::from_millis(300);
    let held_up = tokio::time::timeout(moment, go_through(&mut r, &journal, 0, last)).await;
    assert!(held_up.is_err() && r.folded() < last, "the journal waits for the agents");
    assert_eq!(tried.load(Ordering::Relaxed), 0);
    drop(r);

    crowd.store(false, Ordering::Relaxed);
    let mut r = paced(&journal, Mode::Recorded, outlets(), pace);
    publish(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last - 50).await;
    assert_eq!(r.reports()[0].evidence.stage, Stage::Live);
    let before = tried.load(Ordering::Relaxed);
    assert!(before > 0);
    crowd.store(true, Ordering::Relaxed);
    let long = Duration::from_secs(60);
    let read_on = tokio::time::timeout(long, go_through(&mut r, &journal, last - 49, last)).await;
    assert!(read_on.is_ok() && r.folded() == last, "a live task's audits wait for nobody");
    assert_eq!(tried.load(Ordering::Relaxed), before, "trials are left out");
}

/// Never answers.
struct Silent(UnderstudyId);

impl Responder for Silent {
    fn id(&self) -> &UnderstudyId {
        &self.0
    }

    fn respond<'a>(&'a self, _: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_call_whose_trial_is_broken_off_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(30)).unwrap();
    let mut r = rehearsal(&journal, Mode::Recorded, Outlets::default());
    let silent = UnderstudyId("remote-silent".into());
    r.cast.publish(the_task(), Kind::Remote, Arc::new(Silent(silent)), 0, "silent");
    r.restore().await.unwrap();
    let moment = Duration::from_millis(300);
    assert!(tokio::time::timeout(moment, go_through(&mut r, &journal, 0, last)).await.is_err());
    let done = r.folded();
    assert!(done > 0 && done < last, "{done}");
    r.flush().await.unwrap();
    drop(r);

    let mut r = rehearsal(&journal, Mode::Recorded, Outlets::default());
    let from = r.restore().await.unwrap();
    assert_eq!(from, done + 1);
    go_through(&mut r, &journal, from, last).await;
    assert_eq!(r.reports()[0].tally.calls, 30);
}
