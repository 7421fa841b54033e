use super::*;
use crate::baseline::Baselines;
use crate::remote::Budget;
use crate::testing::{
    CREDENTIAL, OTHER, Script, Vectors, ask, block_on, choice, example, id, question, rules_in_the_message,
    tool_call,
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use understudy_call::{
    AnsweredBy, Credential, Dialect, EmbedError, Exchange, Message, Metadata, Priority, Reply, Role,
    StandIns, Truncation,
};
use understudy_tasks::Form;

fn task() -> Task {
    let form = Form::of(Dialect::OpenaiChat, &question(""));
    Task {
        id: TaskId(7),
        form,
        credential: Some(CREDENTIAL),
        name: "help".into(),
        model: "big".into(),
        provider: "openai".into(),
        calls: 0,
        acts: false,
        framing: Default::default(),
    }
}

/// Forty questions of two kinds, and an embedder that knows them.
fn examples() -> (Vec<Example>, Vectors) {
    let mut vectors = Vectors::default().with("new", vec![1.0, 0.1]);
    let mut all = Vec::new();
    for n in 0..40 {
        let text = format!("question {n}");
        vectors = vectors
            .with(&text, if n % 2 == 0 { vec![1.0, 0.01 * n as f32] } else { vec![0.01 * n as f32, 1.0] });
        all.push(example(n, &text, choice(if n % 2 == 0 { "yes" } else { "no" })));
    }
    (all, vectors)
}

fn configured(engine_off: bool) -> CastConfig {
    let remote = RemoteConfig {
        name: "smaller".into(),
        url: "http://127.0.0.1:1/v1".into(),
        key: None,
        model: "mini".into(),
        logprobs: false,
        budget: Budget { tokens_per_day: Some(0), ..Budget::default() },
    };
    CastConfig { remotes: vec![remote], engine_off, ..CastConfig::default() }
}

fn cast(vectors: Vectors) -> Cast {
    Cast::new(configured(false), Some(Arc::new(vectors)), Some(Script::new(Vec::new())), || 0)
}

fn names(fit: Fit) -> Vec<UnderstudyId> {
    fit.made.into_iter().map(|m| m.id).collect()
}

#[test]
fn a_fit_makes_each_kind_and_the_cheapest_comes_first() {
    let (all, vectors) = examples();
    let cast = cast(vectors);
    let made = names(block_on(cast.rehearse_fit(&task(), &all, 39, &|_| false)));
    let of: Vec<(Kind, u8)> = cast.of_task(TaskId(7)).iter().map(|m| (m.kind, m.cost_rank)).collect();
    assert_eq!(of, [(Kind::Head, 0), (Kind::Prompted, 1), (Kind::Remote, 3)]);
    assert_eq!(made, cast.of_task(TaskId(7)).into_iter().map(|m| m.id).collect::<Vec<_>>());
    let head = cast.find(&made[0]).unwrap();
    let request = question("new");
    assert_eq!(block_on(head.respond(ask(&request, None))).unwrap().stratum, "yes");
    // Nothing is left of its budget, so nobody is asked.
    let remote = cast.find(&made[2]).unwrap();
    assert_eq!(block_on(remote.respond(ask(&request, None))).unwrap_err(), understudy_call::Declined::Budget);
}

#[test]
fn what_all_calls_of_a_task_begin_with_is_not_embedded_nor_shown_again_and_again() {
    let (all, vectors) = examples();
    let (rules, framing) = rules_in_the_message();
    let of = |e: &Example| example(e.seq, &format!("{rules}{}", e.part_text), e.reply.clone());
    let all: Vec<Example> = all.iter().map(of).collect();
    // The embedder knows the questions alone.
    let cast = cast(vectors);
    let task = Task { framing, ..task() };
    let made = block_on(cast.rehearse_fit(&task, &all, 39, &|_| false)).made;
    assert!(!made[0].rehearsed.is_empty());
    let head = cast.find(&made[0].id).unwrap();
    let asked = question(&format!("{rules}new"));
    assert_eq!(block_on(head.respond(ask(&asked, None))).unwrap().stratum, "yes");
    let otherwise = question("new");
    assert_eq!(block_on(head.respond(ask(&otherwise, None))).unwrap_err(), understudy_call::Declined::Novel);
    let note = cast.to_note(&made[1].id).unwrap();
    let shown = &note["snapshot"]["shown"][0];
    assert!(shown["asked"].as_str().unwrap().starts_with("question "), "{shown}");
    assert!(note["snapshot"]["form"].as_str().unwrap().contains("Say yes or no"));
}

#[test]
fn the_same_evidence_is_the_same_version_and_more_is_another() {
    let (all, vectors) = examples();
    let (again, others) = examples();
    let (one, two) = (cast(vectors), cast(others));
    let first = names(block_on(one.rehearse_fit(&task(), &all, 39, &|_| false)));
    assert_eq!(first, names(block_on(two.rehearse_fit(&task(), &again, 39, &|_| false))));
    // A remote learns nothing: it is made once.
    let again = names(block_on(one.rehearse_fit(&task(), &all, 39, &|_| false)));
    assert_eq!(first[..2], again[..]);
    assert_eq!(one.all().len(), 3);
    let earlier = names(block_on(one.rehearse_fit(&task(), &all, 19, &|_| false)));
    assert_ne!(first[0], earlier[0]);
    let heads: Vec<u64> =
        one.of_task(TaskId(7)).iter().filter(|m| m.kind == Kind::Head).map(|m| m.born_seq).collect();
    assert_eq!(heads, [39, 19]);
}

#[test]
fn an_undecided_prompted_version_is_not_replaced() {
    let (all, vectors) = examples();
    let cast = cast(vectors);
    let first = names(block_on(cast.rehearse_fit(&task(), &all, 19, &|_| true)));
    assert!(first.iter().any(|id| id.0.starts_with("prompted")));
    let waits = |id: &UnderstudyId| id.0.starts_with("prompted");
    let second = names(block_on(cast.rehearse_fit(&task(), &all, 39, &waits)));
    assert!(second.iter().all(|id| !id.0.starts_with("prompted")));
    let third = names(block_on(cast.rehearse_fit(&task(), &all, 39, &|_| false)));
    assert!(third.iter().any(|id| id.0.starts_with("prompted")));
}

#[test]
fn another_credential_s_exchanges_change_nothing() {
    let (mut all, vectors) = examples();
    let (_, others) = examples();
    let alone = block_on(cast(vectors).rehearse_fit(&task(), &all, 100, &|_| false));
    for n in 50..60 {
        let mut stranger = example(n, "question 1", choice("yes"));
        stranger.credential = OTHER;
        all.push(stranger);
    }
    assert_eq!(alone, block_on(cast(others).rehearse_fit(&task(), &all, 100, &|_| false)));
}

#[test]
fn a_restart_has_the_same_cast() {
    let (all, vectors) = examples();
    let (_, others) = examples();
    let (before, after) = (cast(vectors), cast(others));
    for made in names(block_on(before.rehearse_fit(&task(), &all, 39, &|_| false))) {
        let note: Value = serde_json::from_str(&before.to_note(&made).unwrap().to_string()).unwrap();
        assert_eq!(after.from_note(&note).unwrap(), made);
    }
    assert_eq!(before.of_task(TaskId(7)), after.of_task(TaskId(7)));
}

#[test]
fn a_damaged_note_is_told_and_left_out() {
    let (all, vectors) = examples();
    let cast = cast(vectors);
    let made = names(block_on(cast.rehearse_fit(&task(), &all, 39, &|_| false)));
    for id in &made {
        let mut note = cast.to_note(id).unwrap();
        note["snapshot"]["born_seq"] = json!(38);
        note["snapshot"]["name"] = json!("gone");
        cast.retire(id);
        assert!(cast.from_note(&note).is_err());
        assert!(cast.find(id).is_none());
    }
    assert!(cast.from_note(&json!({"id": "head-0"})).is_err());
}

#[test]
fn without_an_engine_there_is_nobody_new_and_no_error() {
    let (all, _) = examples();
    let away = Cast::new(CastConfig::default(), Some(Arc::new(Vectors::default())), None, || 0);
    assert!(names(block_on(away.rehearse_fit(&task(), &all, 39, &|_| false))).is_empty());
    let none = Cast::new(CastConfig::default(), None, None, || 0);
    assert!(names(block_on(none.rehearse_fit(&task(), &all, 39, &|_| false))).is_empty());
}

/// An embedder whose engine may be away.
struct Coming {
    vectors: Vectors,
    is_away: AtomicBool,
}

impl Embedder for Coming {
    fn id(&self) -> String {
        self.vectors.id()
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        priority: Priority,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        if self.is_away.load(Ordering::Relaxed) {
            return Box::pin(async { Err(EmbedError::Unavailable("away".to_owned())) });
        }
        self.vectors.embed(texts, priority)
    }
}

#[test]
fn a_fit_that_the_engine_is_away_for_says_so_and_rests_longer_each_time() {
    let (all, vectors) = examples();
    let engine = Arc::new(Coming { vectors, is_away: AtomicBool::new(true) });
    let embedder: Arc<dyn Embedder> = Arc::<Coming>::clone(&engine);
    let cast = Cast::new(CastConfig::default(), Some(embedder), None, || 0);
    let fit = |seq| block_on(cast.rehearse_fit(&task(), &all, seq, &|_| false));
    let rest = |seq: u64| (0_u64..).find(|n| !cast.rests(TaskId(7), seq + n)).unwrap();
    assert_eq!(rest(100), 0);
    assert!(fit(100).engine_away);
    let first = rest(100);
    assert!(fit(200).engine_away);
    assert!(rest(200) > first && first > 0);
    engine.is_away.store(false, Ordering::Relaxed);
    let came = fit(300);
    assert!(!came.engine_away && !came.made.is_empty());
    assert_eq!(rest(200), 0);
    // Nobody is missed where there is nothing to embed, or nobody to do it.
    assert!(!block_on(cast.rehearse_fit(&task(), &[], 400, &|_| false)).engine_away);
}

#[test]
fn while_the_engine_is_off_it_is_not_asked_and_who_needs_it_is_kept() {
    let (all, vectors) = examples();
    let before = cast(vectors);
    let made = names(block_on(before.rehearse_fit(&task(), &all, 39, &|_| false)));
    let vectors = Arc::new(examples().1);
    let embedder: Arc<dyn Embedder> = Arc::<Vectors>::clone(&vectors);
    let off = Cast::new(configured(true), Some(embedder), Some(Script::new(Vec::new())), || 0);
    // One that was not there before: a remote is made all the same.
    let fit = block_on(off.rehearse_fit(&task(), &all, 39, &|_| false));
    assert!(!fit.engine_away && fit.baselines.is_none(), "nothing is owed");
    assert_eq!(names(fit), made[2..]);
    for id in &made[..2] {
        off.from_note(&before.to_note(id).unwrap()).unwrap();
    }
    assert_eq!(off.of_task(TaskId(7)), before.of_task(TaskId(7)), "what was earned is not gone");
    let may: Vec<bool> = made.iter().map(|id| off.may_ask(id)).collect();
    assert_eq!(may, [false, false, true]);
    assert!(made.iter().all(|id| before.may_ask(id)));
    assert!(vectors.asked().is_empty());
}

#[test]
fn versions_are_due_when_the_exchanges_double() {
    let due: Vec<u64> = (1..=2_000).filter(|n| is_due(200, n - 1, *n)).collect();
    assert_eq!(due, [200, 400, 800, 1_600]);
    assert!(is_due(200, 150, 450));
    assert!(!is_due(200, 400, 799));
}

fn exchange(answered_by: AnsweredBy, understudy_reply: Option<Reply>, turns: usize) -> Exchange {
    let mut request = question("a");
    for _ in 1..turns {
        request.messages.push(Message::text_of(Role::Assistant, "b"));
        request.messages.push(Message::text_of(Role::User, "c"));
    }
    let reply = Reply { choices: vec![tool_call("go", "{}")], ..Reply::default() };
    Exchange {
        understudy_reply,
        ..Exchange::new(
            id(1),
            Metadata {
                answered_by,
                ..Metadata::answered("openai", Dialect::OpenaiChat, Credential([1; 16]))
            },
            Some(request),
            Some(reply),
        )
    }
}

#[test]
fn an_understudy_s_answer_is_never_an_example() {
    let by = || AnsweredBy::Understudy(UnderstudyId("head-1".into()));
    let audited = || Some(Reply::default());
    assert!(Example::of(1, &exchange(AnsweredBy::Provider, None, 3)).is_some());
    assert!(Example::of(1, &exchange(by(), None, 1)).is_none());
    // Audited: the reply is the provider's, but later turns hold the understudy's words.
    assert!(Example::of(1, &exchange(by(), audited(), 1)).is_some());
    assert!(Example::of(1, &exchange(by(), audited(), 2)).is_none());
    assert!(Example::of(1, &exchange(AnsweredBy::Nobody, None, 1)).is_none());
}

#[test]
fn a_failed_or_truncated_call_is_never_an_example() {
    let good = || exchange(AnsweredBy::Provider, None, 1);
    let mut failed = good();
    failed.meta.status = 500;
    let mut truncated = good();
    truncated.meta.truncation = Truncation::ProviderGone;
    let mut cut = good();
    cut.reply.as_mut().unwrap().choices[0].finish = Some(understudy_call::Finish::Length);
    for bad in [failed, truncated, cut] {
        assert!(Example::of(1, &bad).is_none());
    }
}

#[test]
fn a_reply_with_a_stand_in_of_its_own_is_never_an_example() {
    let with = |stand_ins| Exchange { stand_ins, ..exchange(AnsweredBy::Provider, None, 1) };
    assert!(Example::of(1, &with(StandIns::Own)).is_none());
    assert!(Example::of(1, &with(StandIns::Echoed)).is_some_and(|e| e.echoes));
    assert!(Example::of(1, &with(StandIns::None)).is_some_and(|e| !e.echoes));
}

#[test]
fn baselines_answer_from_what_they_were_given() {
    let (all, _) = examples();
    let mut baselines = Baselines::default();
    assert!(baselines.exact_repeat("question 2").is_none());
    for (mut e, v) in all.into_iter().zip([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]) {
        e.embedding = Some(v.to_vec());
        baselines.learn(&e);
    }
    assert_eq!(baselines.exact_repeat("question 1").unwrap().text(), "no");
    assert_eq!(baselines.nearest(&[0.1, 0.9]).unwrap().0.text(), "no");
}

#[test]
fn baselines_are_measured_on_the_latest_examples_by_what_came_before() {
    let (mut all, _) = examples();
    for (n, e) in all.iter_mut().enumerate() {
        e.embedding = Some(if n % 2 == 0 { vec![1.0, 0.0] } else { vec![0.0, 1.0] });
        e.part_text = format!("question {}", n % 30);
    }
    let [exact, nearest] = crate::baseline::measure(&all);
    assert_eq!((exact.of, exact.answered, exact.agreed), (39, 10, 10));
    assert_eq!((nearest.of, nearest.answered, nearest.agreed), (39, 39, 38));
}
