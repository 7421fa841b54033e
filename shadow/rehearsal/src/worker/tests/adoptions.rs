//! Adapters come in: across a restart, past an engine that is away, and never
//! without a word where they do not.

use understudy_call::{CallText, EmbedError, Embedder, Priority};
use understudy_cast::registry::Lesson;
use understudy_cast::{ChatAnswer, ChatAsk, ChatModel};

use super::*;

/// Development rows of the lesson.
const ROWS: u64 = 20;

/// An engine that answers with the question's last word, in one of four moods.
#[derive(Default)]
pub(super) struct Engine {
    pub(super) away: AtomicBool,
    /// It is there, but not for the adapter.
    refuses: AtomicBool,
    /// It says the same to everything.
    mumbles: AtomicBool,
    asked: AtomicUsize,
    /// How often it was asked for vectors.
    pub(super) embedded: AtomicUsize,
}

impl Embedder for Engine {
    fn id(&self) -> String {
        "e@1".to_owned()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        self.embedded.fetch_add(1, Ordering::Relaxed);
        let away = self.away.load(Ordering::Relaxed);
        let vectors = vec![vec![1.0, 0.0]; texts.len()];
        Box::pin(
            async move { if away { Err(EmbedError::Unavailable("away".to_owned())) } else { Ok(vectors) } },
        )
    }
}

impl ChatModel for Engine {
    fn model(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { Some("m@1".to_owned()) })
    }

    fn chat(&self, ask: ChatAsk) -> BoxFuture<'_, Result<ChatAnswer, Declined>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let declines = self.away.load(Ordering::Relaxed) || self.refuses.load(Ordering::Relaxed);
        let mumbles = self.mumbles.load(Ordering::Relaxed);
        let asked = if mumbles { "well".to_owned() } else { ask.request.messages.last().unwrap().text() };
        let reply = said(&last_word(&asked));
        let answer = ChatAnswer { reply, confidence: Some(-0.1), min_logprob: Some(-0.1), free_tokens: 1 };
        Box::pin(async move { if declines { Err(Declined::Unavailable) } else { Ok(answer) } })
    }
}

fn with_engine(journal: &Journal, engine: &Arc<Engine>) -> Rehearsal {
    cast_as(journal, engine, CastConfig::default())
}

fn cast_as(journal: &Journal, engine: &Arc<Engine>, config: CastConfig) -> Rehearsal {
    let embedder: Arc<dyn Embedder> = Arc::<Engine>::clone(engine);
    let model: Arc<dyn ChatModel> = Arc::<Engine>::clone(engine);
    let cast = Arc::new(Cast::new(config, Some(embedder), Some(model), || 0));
    let settings = Settings {
        mode: Mode::Recorded,
        policy: loose(),
        adoption_pause: Duration::ZERO,
        ..Settings::default()
    };
    let pace = Pace::free();
    Rehearsal::new(settings, journal.clone(), cast, key(), TaskBook::default(), pace, Outlets::default())
}

/// A task of sixty calls, all read, and its name.
async fn recorded(journal: &Journal, engine: &Arc<Engine>) -> (Rehearsal, String) {
    let last = journal.append_exchanges(questions(60)).unwrap();
    let mut r = with_engine(journal, engine);
    r.restore().await.unwrap();
    go_through(&mut r, journal, 0, last).await;
    let task = r.reports()[0].task.to_string();
    (r, task)
}

/// What an adapter learnt: the journal's first calls, the last ones to develop on.
fn lesson(journal: &Journal, adapter: &str) -> Lesson {
    let mut trained = Vec::new();
    let mut cursor = journal.cursor(0);
    while let Some((seq, record)) = cursor.next().unwrap() {
        if let Record::Exchange(exchange) = record {
            trained.extend(Example::of(seq, &exchange));
        }
    }
    let development = trained.split_off(trained.len() - ROWS as usize);
    Lesson {
        adapter: adapter.to_owned(),
        calls: CallText::Line,
        defers: false,
        frame: None,
        long_turns: true,
        trained,
        development,
    }
}

async fn draft(r: &mut Rehearsal, journal: &Journal) {
    let due = r.next_draft().expect("a draft is due");
    let read = lesson(journal, &due.order().adapter);
    let drafted = due.draft(async { Ok(read) }).await;
    r.drafted(drafted).await.unwrap();
}

/// All of it, at most so many steps.
async fn to_its_end(r: &mut Rehearsal, steps: usize) {
    for _ in 0..steps {
        if !r.is_adopting() {
            break;
        }
        r.adopt_next().await.unwrap();
    }
    assert!(!r.is_adopting(), "it has not ended");
    r.flush().await.unwrap();
}

#[tokio::test]
async fn an_adapter_that_was_ordered_comes_in_after_a_restart_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::default());
    let first = journal(dir.path());
    let (mut r, task) = recorded(&first, &engine).await;
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    assert_eq!(r.reports()[0].adopting, Some((0, 0)));
    drop(r);
    first.close();

    let second = journal(dir.path());
    let mut r = with_engine(&second, &engine);
    r.restore().await.unwrap();
    draft(&mut r, &second).await;
    assert!(r.next_draft().is_none());
    assert_eq!(r.reports()[0].adopting, Some((0, ROWS)));
    // Not concluded, so a restart in the middle begins it again.
    r.adopt_next().await.unwrap();
    r.flush().await.unwrap();
    drop(r);
    second.close();

    let third = journal(dir.path());
    let mut r = with_engine(&third, &engine);
    r.restore().await.unwrap();
    draft(&mut r, &third).await;
    to_its_end(&mut r, 100).await;
    let report = r.reports()[0].clone();
    let [adoption] = report.adoptions.as_slice() else { panic!("{:?}", report.adoptions) };
    assert_eq!((adoption.answered, adoption.agreed), (ROWS, ROWS));
    assert_eq!(adoption.reason, "the task's first");
    assert!(adoption.understudy.is_some() && report.adopting.is_none());
    let decisions = r.decisions().to_vec();
    drop(r);
    third.close();

    let fourth = journal(dir.path());
    let mut r = with_engine(&fourth, &engine);
    r.restore().await.unwrap();
    assert!(r.next_draft().is_none() && !r.is_adopting());
    let again = &r.reports()[0];
    assert_eq!(again.adoptions, report.adoptions);
    assert_eq!((&again.evidence, r.decisions()), (&report.evidence, decisions.as_slice()));
}

#[tokio::test]
async fn rows_that_the_engine_could_not_be_asked_are_asked_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (mut r, task) = recorded(&journal, &engine).await;
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &journal).await;
    assert!(r.adopt_next().await.unwrap());
    engine.away.store(true, Ordering::Relaxed);
    // More often than there are rows.
    for _ in 0..30 {
        assert!(!r.adopt_next().await.unwrap());
    }
    assert_eq!(r.reports()[0].adopting, Some((1, ROWS)));
    engine.away.store(false, Ordering::Relaxed);
    to_its_end(&mut r, 100).await;
    assert_eq!(r.reports()[0].adoptions[0].answered, ROWS);
}

#[tokio::test]
async fn an_adapter_without_hope_is_not_asked_all_of_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let last = journal.append_exchanges(questions(60)).unwrap();
    let mut r = with_engine(&journal, &engine);
    // With τ at .8 nearly half of the rows have to agree.
    r.settings.policy.min_coverage = 0.6;
    r.restore().await.unwrap();
    go_through(&mut r, &journal, 0, last).await;
    let task = r.reports()[0].task.to_string();
    engine.mumbles.store(true, Ordering::Relaxed);
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &journal).await;
    to_its_end(&mut r, 100).await;
    let adoption = &r.reports()[0].adoptions[0];
    // 1 - .01^(1/8) = .44
    assert_eq!((adoption.answered, adoption.agreed), (8, 0));
    assert_eq!(adoption.reason, "the task's first; 0 of 8 rows agreed, so the other 12 were not asked");
    assert!(adoption.understudy.is_some());
}

#[tokio::test]
async fn a_failed_try_waits_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (mut r, task) = recorded(&journal, &engine).await;
    r.settings.adoption_pause = Duration::from_secs(3_600);
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &journal).await;
    engine.refuses.store(true, Ordering::Relaxed);
    assert!(r.can_adopt());
    for _ in 0..10 {
        assert!(!r.adopt_next().await.unwrap());
    }
    assert_eq!(engine.asked.load(Ordering::Relaxed), 1);
    assert!(!r.can_adopt() && r.is_adopting());
}

#[tokio::test]
async fn an_adapter_that_the_engine_refuses_is_let_go_and_kept_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(Engine::default());
    let first = journal(dir.path());
    let (mut r, task) = recorded(&first, &engine).await;
    engine.refuses.store(true, Ordering::Relaxed);
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &first).await;
    to_its_end(&mut r, 10).await;
    let report = &r.reports()[0];
    let adoption = &report.adoptions[0];
    assert!(adoption.understudy.is_none() && adoption.rows == 40, "{adoption:?}");
    assert!(adoption.reason.contains("not taken in: the engine answers, but"), "{}", adoption.reason);
    drop(r);
    first.close();

    let second = journal(dir.path());
    let mut r = with_engine(&second, &engine);
    r.restore().await.unwrap();
    assert!(r.next_draft().is_none());
    assert!(r.reports()[0].adoptions[0].reason.contains("not taken in"));
    // Ordered once more, what it comes to takes the place of the failure.
    engine.refuses.store(false, Ordering::Relaxed);
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &second).await;
    to_its_end(&mut r, 100).await;
    let adoptions = r.reports()[0].adoptions.clone();
    assert!(adoptions.len() == 1 && adoptions[0].understudy.is_some(), "{adoptions:?}");
}

#[tokio::test]
async fn a_draft_waits_for_its_engine_and_reads_its_lesson_once() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (mut r, task) = recorded(&journal, &engine).await;
    engine.away.store(true, Ordering::Relaxed);
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    draft(&mut r, &journal).await;
    let mut tries = 1;
    while let Some(due) = r.next_draft() {
        let unread = async { Err("it was read before".to_owned()) };
        let drafted = due.draft(unread).await;
        r.drafted(drafted).await.unwrap();
        tries += 1;
        assert!(tries < 1_000, "there is a bound");
    }
    assert!(tries > 10 && !r.is_adopting());
    let reason = r.reports()[0].adoptions[0].reason.clone();
    assert!(reason.contains("the engine was away for too long"), "{reason}");
}

#[tokio::test]
async fn an_order_waits_while_the_engine_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (mut r, task) = recorded(&journal, &engine).await;
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    drop(r);
    let mut off = cast_as(&journal, &engine, CastConfig { engine_off: true, ..CastConfig::default() });
    off.restore().await.unwrap();
    assert!(off.is_adopting() && off.next_draft().is_none() && !off.can_adopt());
    drop(off);
    let mut on = with_engine(&journal, &engine);
    on.restore().await.unwrap();
    assert!(on.next_draft().is_some());
}

#[tokio::test]
async fn an_order_outlives_the_volume_that_it_was_written_in() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (mut r, task) = recorded(&journal, &engine).await;
    r.order_adoption(&task, "a1", "the test").await.unwrap();
    r.save();
    let mut checkpoint = json!({ "saved": &*r.saved.load_full(), "cast": [] });
    let mut later = with_engine(&journal, &engine);
    later.take_up(&checkpoint);
    assert_eq!(later.next_draft().map(|d| d.order().adapter.clone()).as_deref(), Some("a1"));
    // One from before orders were kept.
    checkpoint["saved"].as_object_mut().unwrap().remove("ordered").unwrap();
    let mut older = with_engine(&journal, &engine);
    older.take_up(&checkpoint);
    assert!(older.next_draft().is_none() && older.reports().len() == 1);
}

#[tokio::test]
async fn an_order_for_a_task_without_calls_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, engine) = (journal(dir.path()), Arc::new(Engine::default()));
    let (r, _) = recorded(&journal, &engine).await;
    drop(r);
    let order = json!({ "task": TaskId(7), "adapter": "a1" });
    journal.append(vec![Record::Note { kind: "adoption-ordered".to_owned(), json: order }]).unwrap();
    let mut r = with_engine(&journal, &engine);
    r.restore().await.unwrap();
    assert!(r.next_draft().is_none() && !r.is_adopting());
    assert!(r.order_adoption("nobody", "a1", "the test").await.is_err());
}
