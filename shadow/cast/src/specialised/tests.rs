use super::*;
use crate::registry::{Cast, CastConfig, Lesson};
use crate::testing::{
    CREDENTIAL, OTHER, Script, Vectors, ask, block_on, choice, example, id, question, rules_in_the_message,
    tool, tool_call,
};
use serde_json::json;
use understudy_call::{Answer, ConversationKey, ExchangeId, Message, Role};
use understudy_policy::TaskId;

fn trained(replies: &[Choice]) -> Vec<Example> {
    replies
        .iter()
        .enumerate()
        .map(|(i, reply)| {
            let mut e = example(i as u64, &format!("question {i}"), reply.clone());
            e.embedding = Some(vec![1.0, 0.0]);
            e
        })
        .collect()
}

fn snapshot(replies: &[Choice]) -> SpecialisedSnapshot {
    snapshot_of(&trained(replies))
}

fn snapshot_of(trained: &[Example]) -> SpecialisedSnapshot {
    let models = ("m@1", "adapter-1", "e");
    let mut s = SpecialisedSnapshot::new(TaskId(1), Some(CREDENTIAL), models, trained, 9)
        .unwrap()
        .writing(CallText::Line);
    s.calibration = Calibration { intercept: 2.0, sum: 1.0, least: 0.5, similarity: 1.0 };
    s
}

fn said(choice: Choice, sum: f64, least: f64) -> Result<ChatAnswer, Declined> {
    Ok(ChatAnswer {
        reply: Reply { choices: vec![choice], ..Reply::default() },
        confidence: Some(sum),
        min_logprob: Some(least),
        free_tokens: 3,
    })
}

fn weather() -> Request {
    let mut r = question("weather in Oslo?");
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    r.tools = vec![tool("weather", schema)].into();
    r
}

fn calls() -> Vec<Choice> {
    vec![tool_call("weather", r#"{"city":"Rome"}"#), tool_call("weather", r#"{"city":"Bergen"}"#)]
}

fn understudy(s: SpecialisedSnapshot, script: &Arc<Script>) -> Specialised {
    let embedder = Vectors::default()
        .with("weather in Oslo?", vec![1.0, 0.0])
        .with("where?", vec![0.0, 1.0])
        .with("hello", vec![1.0, 0.0]);
    Specialised::new(s, Arc::new(embedder), Arc::<Script>::clone(script)).unwrap()
}

#[test]
fn it_is_given_the_part_alone_and_its_tools_only_constrain() {
    let script = Script::new(vec![said(tool_call("weather", r#"{"city": "Oslo"}"#), -0.2, -0.1)]);
    let request = weather();
    let it = understudy(snapshot(&calls()), &script);
    let Answer { confidence, stratum, reply, .. } = block_on(it.respond(ask(&request, None))).unwrap();
    // 2 - 0.2 - 0.05 + 1
    assert!((confidence - 2.75).abs() < 0.02, "{confidence}");
    assert_eq!((stratum.as_str(), reply.model.as_str()), ("weather", "big"));
    let asked = &script.asked.lock().unwrap()[0];
    assert_eq!(asked.adapter.as_deref(), Some("adapter-1"));
    assert_eq!(asked.calls, CallText::Line);
    assert_eq!(asked.shape, Some(ReplyShape::ToolCall));
    let turns: Vec<_> = asked.request.messages.iter().map(|m| (m.role, m.text())).collect();
    assert_eq!(turns, [(Role::User, "weather in Oslo?".to_owned())]);
    assert_eq!(asked.request.tools.len(), 1);
    assert_eq!(asked.request.sampling.temperature, Some(0.0));
}

#[test]
fn of_a_message_with_rules_it_is_given_what_stands_inside() {
    let script = Script::new(vec![said(tool_call("weather", r#"{"city": "Oslo"}"#), -0.2, -0.1)]);
    let (rules, framing) = rules_in_the_message();
    let it = understudy(snapshot(&calls()).within(framing.frame()), &script);
    let mut request = weather();
    assert_eq!(block_on(it.respond(ask(&request, None))).unwrap_err(), Declined::Novel);
    request.messages = question(&format!("{rules}weather in Oslo?")).messages;
    block_on(it.respond(ask(&request, None))).unwrap();
    let asked = &script.asked.lock().unwrap()[0].request.messages;
    assert_eq!(asked.iter().map(Message::text).collect::<Vec<_>>(), ["weather in Oslo?"]);
}

#[test]
fn a_task_that_also_speaks_leaves_the_shape_to_the_request() {
    let script = Script::new(vec![said(choice("Hi."), -0.2, -0.1)]);
    let mixed = [calls(), vec![choice("Hello!")]].concat();
    let mut request = weather();
    request.messages = question("hello").messages;
    let answer = block_on(understudy(snapshot(&mixed), &script).respond(ask(&request, None))).unwrap();
    assert_eq!(answer.stratum, "text");
    assert_eq!(script.asked.lock().unwrap()[0].shape, None);
}

#[test]
fn a_call_that_it_has_learnt_to_leave_is_declined_before_a_word_is_written() {
    let mixed = [calls(), vec![choice("Hello!")]].concat();
    let request = weather();
    let asked_with = |defers: bool, reply: Choice| {
        let script = Script::new(vec![said(reply, -0.2, -0.1)]);
        let it = understudy(snapshot(&mixed).deferring(defers), &script);
        let answer = block_on(it.respond(ask(&request, None)));
        let shape = script.asked.lock().unwrap()[0].shape;
        (shape, answer)
    };
    let nothing = || Choice { content: Vec::new(), ..choice("") };
    let (shape, answer) = asked_with(true, nothing());
    assert_eq!((shape, answer.unwrap_err()), (Some(ReplyShape::OrNothing), Declined::Deferred));
    assert_eq!(asked_with(true, choice("")).1.unwrap_err(), Declined::Deferred);
    assert_eq!(asked_with(true, choice("Hello!")).1.unwrap().stratum, "text");
    // One that has not learnt it has said nothing of use.
    let (shape, answer) = asked_with(false, nothing());
    assert_eq!((shape, answer.unwrap_err()), (None, Declined::Invalid));
}

#[test]
fn the_engine_gets_the_bar_that_the_sum_would_have_to_keep() {
    let script = Script::new(vec![
        said(tool_call("weather", r#"{"city": "Oslo"}"#), -1.0, -1.0),
        said(tool_call("weather", r#"{"city": "Oslo"}"#), -0.1, -0.1),
    ]);
    let it = understudy(snapshot(&calls()), &script);
    let request = weather();
    let at_bar = || block_on(it.respond(Ask { bar: Some(2.0), ..ask(&request, None) }));
    assert_eq!(at_bar().unwrap_err(), Declined::BelowBar);
    assert!(at_bar().is_ok());
    let bar = script.asked.lock().unwrap()[0].bar.unwrap();
    assert!((bar + 1.0).abs() < 0.02, "{bar}");
}

#[test]
fn what_nothing_could_bring_over_the_bar_is_novel_and_not_asked() {
    let script = Script::new(vec![]);
    let it = understudy(snapshot(&[choice("a"), choice("b")]), &script);
    let request = question("where?");
    let answer = block_on(it.respond(Ask { bar: Some(2.5), ..ask(&request, None) }));
    assert_eq!(answer.unwrap_err(), Declined::Novel);
    assert!(script.asked.lock().unwrap().is_empty());
}

#[test]
fn a_reply_of_digits_has_room_and_the_callers_limit_stays() {
    let script = Script::new(vec![said(choice("1"), -0.1, -0.1), said(choice("1"), -0.1, -0.1)]);
    // A token for each digit.
    let number = "7".repeat(300);
    let it = understudy(snapshot(&[choice(&number), choice("1")]), &script);
    let mut request = question("hello");
    block_on(it.respond(ask(&request, None))).unwrap();
    request.sampling.max_tokens = Some(40);
    block_on(it.respond(ask(&request, None))).unwrap();
    let room: Vec<_> =
        script.asked.lock().unwrap().iter().map(|a| a.request.sampling.max_tokens.unwrap()).collect();
    assert_eq!(room, [332, 40]);
}

#[test]
fn another_caller_another_base_and_a_reply_that_fits_no_tool_are_declined() {
    let script = Script::new(vec![said(tool_call("weather", r#"{"town": 3}"#), -0.1, -0.1)]);
    let it = understudy(snapshot(&calls()), &script);
    let request = weather();
    let stranger = Ask { credential: OTHER, ..ask(&request, None) };
    assert_eq!(block_on(it.respond(stranger)).unwrap_err(), Declined::Unavailable);
    assert_eq!(block_on(it.respond(ask(&request, None))).unwrap_err(), Declined::Invalid);
    *script.name.lock().unwrap() = "m@2".to_owned();
    assert_eq!(block_on(it.respond(ask(&request, None))).unwrap_err(), Declined::Unavailable);
}

#[test]
fn a_value_that_was_always_quoted_and_that_nobody_said_is_declined() {
    let rows: Vec<Example> = (0..60)
        .map(|i| {
            let reply = tool_call("weather", &format!(r#"{{"city":"Town {i}"}}"#));
            let row = example(i, &format!("weather in Town {i}?"), reply);
            Example { embedding: Some(vec![1.0, 0.0]), ..row }
        })
        .collect();
    let script = Script::new(vec![
        said(tool_call("weather", r#"{"city": "Rome"}"#), -0.1, -0.1),
        said(tool_call("weather", r#"{"city": "Oslo"}"#), -0.1, -0.1),
    ]);
    let it = understudy(snapshot_of(&rows), &script);
    let request = weather();
    assert_eq!(block_on(it.respond(ask(&request, None))).unwrap_err(), Declined::Unquoted);
    assert!(block_on(it.respond(ask(&request, None))).is_ok());
    // It is kept with the version, of whose name it is part.
    let s = it.snapshot();
    let back: SpecialisedSnapshot = serde_json::from_value(serde_json::to_value(s).unwrap()).unwrap();
    assert_eq!((back.habits.quotes.is_empty(), back.id()), (false, s.id()));
}

#[test]
fn a_note_gives_the_version_back_and_every_part_of_it_is_in_its_name() {
    let s = snapshot(&calls());
    let back: SpecialisedSnapshot = serde_json::from_value(serde_json::to_value(&s).unwrap()).unwrap();
    assert_eq!(back.id(), s.id());
    let mut other = s.clone();
    other.adapter = "adapter-2".into();
    assert_ne!(other.id(), s.id());
    let mut other = s.clone();
    other.calibration = Calibration::default();
    assert_ne!(other.id(), s.id());
}

#[test]
fn a_draft_answers_development_rows_and_becomes_a_member_of_the_cast() {
    let answers = (0..40)
        .map(|i| {
            let city = if i % 4 == 0 { "Rome" } else { "Oslo" };
            let sum = if i % 4 == 0 { -2.0 } else { -0.1 };
            said(tool_call("weather", &format!(r#"{{"city": "{city}"}}"#)), sum, sum)
        })
        .collect();
    let script = Script::new(answers);
    let embedder =
        Arc::new(Vectors::default().with("weather in Oslo?", vec![1.0, 0.0]).with("", vec![0.0, 1.0]));
    let model: Arc<dyn ChatModel> = Arc::<Script>::clone(&script);
    let cast = Cast::new(CastConfig::default(), Some(embedder), Some(model), || 0);
    let request = weather();
    let form = understudy_tasks::Form::of(understudy_call::Dialect::OpenaiChat, &request);
    let mut book = understudy_tasks::TaskBook::default();
    let task_id = book.assign(&exchange(&request)).unwrap();
    let task = book.task(task_id).unwrap().clone();
    assert_eq!(task.form.hash, form.hash);
    let reference = example(100, "weather in Oslo?", tool_call("weather", r#"{"city":"Oslo"}"#));
    let lesson = Lesson {
        adapter: "a".into(),
        calls: CallText::Line,
        defers: false,
        frame: None,
        long_turns: true,
        trained: trained(&calls()),
        development: vec![reference.clone()],
    };
    let framed = Lesson { frame: Some("of another day".into()), ..lesson.clone() };
    let refused = block_on(cast.draft(&task, &framed, 50)).unwrap_err();
    assert!(matches!(refused, crate::CastError::OtherFrame), "{refused}");
    let draft = block_on(cast.draft(&task, &lesson, 50)).unwrap();
    let judged: Vec<Judgement> = (0..40u8)
        .map(|i| {
            let (given, signals, stratum) =
                block_on(draft.rehearse(&request, &reference, Duration::from_secs(1))).unwrap();
            let agrees = crate::example::label(&given) == reference.label;
            Judgement { conversation: ConversationKey([i; 16]), signals: Some(signals), agrees, stratum }
        })
        .collect();
    let made = cast.adopt(draft, &judged).unwrap();
    assert_eq!(made.rehearsed.len(), 40);
    let sure = made.rehearsed.iter().filter(|r| r.agrees).map(|r| r.confidence.unwrap());
    let unsure = made.rehearsed.iter().filter(|r| !r.agrees).map(|r| r.confidence.unwrap());
    assert!(sure.fold(f64::MAX, f64::min) > unsure.fold(f64::MIN, f64::max));
    assert_eq!(cast.specialised_of(task.id), Some(made.id.clone()));
    assert!(cast.redraft(&made.id).is_some());
    // A restart gives the same version back.
    let note = cast.to_note(&made.id).unwrap();
    assert!(cast.retire(&made.id));
    assert_eq!(cast.from_note(&note).unwrap(), made.id);
}

fn exchange(request: &Request) -> understudy_call::Exchange {
    use understudy_call::{Dialect, Exchange, Metadata};
    let form = understudy_tasks::fingerprint(Dialect::OpenaiChat, request);
    Exchange::new(
        ExchangeId(id(1).0),
        Metadata { form: Some(form), ..Metadata::answered("openai", Dialect::OpenaiChat, CREDENTIAL) },
        Some(request.clone()),
        Some(Reply { choices: vec![choice("x")], ..Reply::default() }),
    )
}
