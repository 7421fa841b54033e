//! Which rules a task is under, and from when on.

use understudy_policy::{Action, Why};

use super::*;

fn under(journal: &Journal, policy: TaskPolicy, own: &[(&str, TaskPolicy)]) -> Rehearsal {
    let cast = Arc::new(Cast::new(CastConfig::default(), None, None, || 0));
    let overrides = own.iter().map(|(name, policy)| ((*name).to_owned(), policy.clone())).collect();
    let settings = Settings { mode: Mode::Recorded, policy, overrides, ..Settings::default() };
    let (book, pace) = (TaskBook::default(), Pace::free());
    let r = Rehearsal::new(settings, journal.clone(), cast, key(), book, pace, Outlets::default());
    publish(&r);
    r
}

/// One that has read so many questions under the loose rules.
async fn after(journal: &Journal, asked: u64) -> Rehearsal {
    let last = journal.append_exchanges(questions(asked)).unwrap();
    let mut r = under(journal, loose(), &[]);
    r.restore().await.unwrap();
    go_through(&mut r, journal, 0, last).await;
    r
}

fn tau_of(r: &Rehearsal) -> f64 {
    r.reports()[0].evidence.tau
}

/// An echo that counts how often it is asked.
struct Asked {
    echo: Echo,
    times: Arc<AtomicUsize>,
}

impl Responder for Asked {
    fn id(&self) -> &UnderstudyId {
        self.echo.id()
    }

    fn respond<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Answer, Declined>> {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.echo.respond(ask)
    }
}

/// Publishes one beside the echo, and before it in the order of their names.
fn publish_beside(r: &Rehearsal) -> Arc<AtomicUsize> {
    let times = Arc::new(AtomicUsize::new(0));
    let echo = Echo(UnderstudyId("remote-beside".into()));
    let asked = Asked { echo, times: Arc::clone(&times) };
    r.cast.publish(the_task(), Kind::Remote, Arc::new(asked), 0, "beside");
    times
}

fn only(model: &str) -> TaskPolicy {
    TaskPolicy { models: vec![model.to_owned()], ..loose() }
}

#[tokio::test]
async fn whom_the_rules_leave_out_is_never_asked_and_serves_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(600)).unwrap();
    let mut r = under(&journal, only("remote-echo"), &[]);
    let asked = publish_beside(&r);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    // Of its kind it is the newest, and the one that is named is tried all the same.
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let evidence = r.reports()[0].evidence.clone();
    let serving = evidence.service().map(|e| e.understudy.0.clone());
    assert_eq!((evidence.stage, serving.as_deref()), (Stage::Live, Some("remote-echo")));

    let keys = serde_json::from_str(r#"{"models": ["remote-beside"]}"#).unwrap();
    r.amend(vec![Amendment { task: None, keys }]).await.unwrap();
    let decision = r.decisions().last().unwrap();
    assert_eq!((decision.from, decision.to), (Stage::Live, Stage::Shadowing));
    assert_eq!(decision.why, Why::Policy);
    assert!(r.roster().tasks.is_empty());
    assert_eq!(r.ledger(the_task()).unwrap().open_understudies().count(), 0);
    let more = (600..640).map(|i| exchange(i, &format!("say word{i}"), AnsweredBy::Provider)).collect();
    let end = journal.append_exchanges(more).unwrap();
    go_through(&mut r, &journal, last + 1, end).await;
    assert_eq!(asked.load(Ordering::Relaxed), 40);
    let known = r.decisions().to_vec();
    drop(r);

    let mut again = under(&journal, only("remote-beside"), &[]);
    publish_beside(&again);
    again.restore().await.unwrap();
    assert_eq!(again.decisions(), known, "a restart judges each call by the rules of its day");
}

#[tokio::test]
async fn a_task_has_rules_of_its_own_by_id_and_by_the_name_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let last = journal.append_exchanges(questions(20)).unwrap();
    let stricter = TaskPolicy { tau: 0.9, ..loose() };
    let mut r = under(&journal, loose(), &[("echoes", stricter.clone())]);
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let (id, name) = (r.reports()[0].task.to_string(), r.reports()[0].name.clone());
    assert_eq!(tau_of(&r), 0.8);
    r.rename(&name, "echoes").await.unwrap();
    assert_eq!(tau_of(&r), 0.9);
    drop(r);

    let mut again = under(&journal, loose(), &[("echoes", stricter)]);
    again.restore().await.unwrap();
    assert_eq!(tau_of(&again), 0.9, "a restart knows the name");
    drop(again);

    let mut by_id = under(&journal, loose(), &[(id.as_str(), TaskPolicy { tau: 0.85, ..loose() })]);
    by_id.restore().await.unwrap();
    assert_eq!(tau_of(&by_id), 0.85);
}

#[tokio::test]
async fn other_rules_hold_from_now_on_and_another_target_is_earned_anew() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let r = after(&journal, 600).await;
    assert_eq!(r.reports()[0].evidence.stage, Stage::Live);
    let before = r.decisions().to_vec();
    drop(r);

    // The past stays as it was judged.
    let mut audited = under(&journal, TaskPolicy { audit_share: 0.5, ..loose() }, &[]);
    audited.restore().await.unwrap();
    assert_eq!(audited.decisions(), before);
    assert_eq!(audited.reports()[0].evidence.stage, Stage::Live);
    drop(audited);

    let mut stricter = under(&journal, TaskPolicy { tau: 0.95, ..loose() }, &[]);
    stricter.restore().await.unwrap();
    let report = &stricter.reports()[0];
    assert_eq!((report.evidence.stage, report.evidence.tau), (Stage::Shadowing, 0.95));
    let decision = stricter.decisions().last().unwrap().clone();
    assert_eq!((decision.from, decision.why), (Stage::Live, Why::Policy));
    let known = stricter.decisions().to_vec();
    drop(stricter);

    let mut again = under(&journal, TaskPolicy { tau: 0.95, ..loose() }, &[]);
    again.restore().await.unwrap();
    assert_eq!(again.decisions(), known, "it is told once");
}

#[tokio::test]
async fn keys_are_laid_over_the_rules_and_taken_off_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut r = after(&journal, 20).await;
    let name = r.reports()[0].name.clone();
    let keys = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap();
    let all = Amendment { task: None, keys: keys(r#"{"tau": 0.91, "alpha": 0.02}"#) };
    let one = Amendment { task: Some(name), keys: keys(r#"{"tau": 0.93}"#) };
    let another = Amendment { task: Some("another".to_owned()), keys: keys(r#"{"alpha": 0.5}"#) };
    r.amend(vec![all.clone(), one, another]).await.unwrap();
    assert_eq!((tau_of(&r), r.reports()[0].evidence.alpha), (0.93, 0.02));
    drop(r);

    // What they were is in the journal; without them the configuration holds again.
    let mut again = under(&journal, loose(), &[]);
    again.restore().await.unwrap();
    assert_eq!(tau_of(&again), 0.8);
    again.amend(vec![all]).await.unwrap();
    assert_eq!(tau_of(&again), 0.91);
}

#[test]
fn keys_that_there_are_not_are_refused_by_name() {
    let lay = |text: &str| {
        let keys = serde_json::from_str(text).unwrap();
        Amendment { task: None, keys }.lay(&TaskPolicy::default()).unwrap_err().to_string()
    };
    assert!(lay(r#"{"taw": 0.9}"#).contains("taw"));
    assert!(lay(r#"{"tau": "high"}"#).contains("high"));
}

#[tokio::test]
async fn orders_and_other_rules_without_a_call_between_them_keep_their_order_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(dir.path());
    let mut r = after(&journal, 600).await;
    let task = r.reports()[0].task.to_string();
    r.operate(&task, Action::Pin(true), "a person").await.unwrap();
    let keys = serde_json::from_str(r#"{"tau": 0.95}"#).unwrap();
    r.amend(vec![Amendment { task: None, keys }]).await.unwrap();
    r.operate(&task, Action::Pin(false), "a person").await.unwrap();
    let known = r.decisions().to_vec();
    let why: Vec<_> = known.iter().rev().take(3).map(|d| d.why).collect();
    assert_eq!(why, [Why::Unpinned, Why::Policy, Why::Pinned]);
    drop(r);

    let mut again = under(&journal, loose(), &[]);
    again.restore().await.unwrap();
    assert_eq!(again.decisions()[..known.len()], known);
}
