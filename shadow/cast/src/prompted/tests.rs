use super::*;
use crate::client::ChatAnswer;
use crate::example::Example;
use crate::testing::{
    CREDENTIAL, OTHER, Script, Vectors, ask, block_on, choice, example, id, question, tool, tool_call,
};
use serde_json::json;
use understudy_call::{Choice, Dialect, Message, Role};
use understudy_policy::TaskId;
use understudy_tasks::Form;

/// A unit vector at an angle.
fn at(angle: f32) -> Vec<f32> {
    vec![angle.cos(), angle.sin()]
}

fn examples(n: u64) -> Vec<Example> {
    (0..n)
        .map(|i| {
            let mut e = example(i, &format!("question {i}"), choice(&format!("answer {i}")));
            e.embedding = Some(at(i as f32 * 0.05));
            e
        })
        .collect()
}

fn form(request: &Request) -> Form {
    Form::of(Dialect::OpenaiChat, request)
}

fn snapshot(examples: &[Example], born: u64, rules: &PromptRules) -> PromptedSnapshot {
    PromptedSnapshot::new(
        TaskId(1),
        Some(CREDENTIAL),
        (&form(&question("")), None),
        ("m@1", "e"),
        examples,
        born,
        rules,
    )
    .unwrap()
}

fn said(choice: Choice, confidence: f64) -> Result<ChatAnswer, Declined> {
    Ok(ChatAnswer {
        reply: Reply { choices: vec![choice], ..Reply::default() },
        confidence: Some(confidence),
        min_logprob: None,
        free_tokens: 1,
    })
}

fn prompted(snapshot: PromptedSnapshot, angle: f32, text: &str, script: &Arc<Script>) -> Prompted {
    let embedder = Arc::new(Vectors::default().with(text, at(angle)));
    Prompted::new(snapshot, embedder, Arc::<Script>::clone(script)).unwrap()
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(Message::text).collect()
}

#[test]
fn it_is_shown_the_nearest_earlier_exchanges_the_nearest_last() {
    let script = Script::new(vec![said(choice("answer 50"), -0.5)]);
    let rules = PromptRules { k: 3, ..PromptRules::default() };
    let p = prompted(snapshot(&examples(100), 99, &rules), 2.5, "where?", &script);
    let request = question("where?");
    let answer = block_on(p.respond(ask(&request, None))).unwrap();
    let asked = script.asked.lock().unwrap();
    let shown = texts(&asked[0].request.messages);
    assert_eq!(shown[0], "Help.");
    assert_eq!(&shown[5..], ["question 50", "answer 50", "where?"]);
    assert_eq!(shown.len(), 8);
    assert_eq!(asked[0].request.messages[6].role, Role::Assistant);
    assert_eq!(asked[0].shape, Some(ReplyShape::Text));
    assert_eq!(asked[0].request.sampling.temperature, Some(0.0));
    // All neighbours answered with text, and lie next to it.
    assert!((answer.confidence + 0.5).abs() < 0.01, "{}", answer.confidence);
    assert_eq!(answer.stratum, "text");
    assert_eq!(answer.reply.model, "big");
}

#[test]
fn it_is_never_shown_the_call_itself_nor_a_later_one() {
    let s = snapshot(&examples(100), 99, &PromptRules::default());
    for n in [0u64, 1, 40, 99] {
        let near = s.nearest(&at(n as f32 * 0.05), Some(id(n)), 6);
        assert!(near.iter().all(|(e, _)| e.seq < n), "{n}: {near:?}");
        assert_eq!(near.len(), usize::try_from(n.min(6)).unwrap());
    }
    // A call that came after the snapshot may see all of it.
    assert_eq!(s.nearest(&at(2.5), Some(id(500)), 6)[0].0.seq, 50);
}

#[test]
fn it_is_never_shown_what_came_after_the_snapshot() {
    let s = snapshot(&examples(100), 49, &PromptRules::default());
    assert_eq!(s.shown.len(), 50);
    assert!(s.nearest(&at(0.9), None, 6).iter().all(|(e, _)| e.seq <= 49));
}

#[test]
fn a_call_that_the_snapshot_knows_of_and_does_not_hold_is_shown_nothing() {
    let rules = PromptRules { snapshot: 10, ..PromptRules::default() };
    let s = snapshot(&examples(100), 99, &rules);
    assert_eq!(s.shown.iter().map(|e| e.seq).min(), Some(90));
    assert!(s.nearest(&at(0.5), Some(id(50)), 6).is_empty());
}

#[test]
fn it_is_never_shown_another_credential_s_exchange_unless_the_task_is_shared() {
    let mut all = examples(20);
    all.iter_mut().filter(|e| e.seq % 2 == 0).for_each(|e| e.credential = OTHER);
    let s = snapshot(&all, 99, &PromptRules::default());
    assert!(s.shown.iter().all(|e| e.seq % 2 == 1));
    let shared = PromptedSnapshot::new(
        TaskId(1),
        None,
        (&form(&question("")), None),
        ("m@1", "e"),
        &all,
        99,
        &PromptRules::default(),
    );
    assert_eq!(shared.unwrap().shown.len(), 20);

    let script = Script::new(vec![said(choice("x"), -0.5)]);
    let p = prompted(s, 0.1, "where?", &script);
    let request = question("where?");
    let stranger = Ask { credential: OTHER, ..ask(&request, None) };
    assert_eq!(block_on(p.respond(stranger)).unwrap_err(), Declined::Unavailable);
    assert!(script.asked.lock().unwrap().is_empty());
}

#[test]
fn too_long_a_prompt_loses_examples_and_then_the_call() {
    let long = || Err(Declined::TooLong);
    let script = Script::new(vec![long(), long(), said(choice("ok"), -0.1)]);
    let rules = PromptRules { k: 4, ..PromptRules::default() };
    let s = snapshot(&examples(10), 99, &rules);
    let request = question("where?");
    assert!(block_on(prompted(s.clone(), 0.0, "where?", &script).respond(ask(&request, None))).is_ok());
    let lengths: Vec<usize> = script.asked.lock().unwrap().iter().map(|a| a.request.messages.len()).collect();
    assert_eq!(lengths, [10, 6, 4]);

    let script = Script::new(vec![long(), long(), long(), long(), long()]);
    let p = prompted(s.clone(), 0.0, "where?", &script);
    assert_eq!(block_on(p.respond(ask(&request, None))).unwrap_err(), Declined::TooLong);

    let endless = question(&"x".repeat(rules.prompt_chars + 1));
    let p = prompted(s, 0.0, "where?", &script);
    assert_eq!(block_on(p.respond(ask(&endless, None))).unwrap_err(), Declined::TooLong);
}

#[test]
fn a_reply_of_digits_has_room_and_the_callers_limit_stays() {
    let script = Script::new(vec![said(choice("1"), -0.1), said(choice("1"), -0.1)]);
    let mut all = examples(4);
    // A token for each digit.
    all[1].reply = choice(&"7".repeat(300));
    let p = prompted(snapshot(&all, 99, &PromptRules::default()), 0.0, "where?", &script);
    let mut request = question("where?");
    block_on(p.respond(ask(&request, None))).unwrap();
    request.sampling.max_tokens = Some(40);
    block_on(p.respond(ask(&request, None))).unwrap();
    let room: Vec<_> =
        script.asked.lock().unwrap().iter().map(|a| a.request.sampling.max_tokens.unwrap()).collect();
    assert_eq!(room, [332, 40]);
}

#[test]
fn tools_constrain_the_reply_and_are_named_in_the_form() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}, "required": ["city"]});
    let mut request = question("weather in Oslo?");
    request.tools = vec![tool("weather", schema)].into();
    let mut all = examples(8);
    for e in &mut all {
        e.reply = tool_call("weather", &format!("{{\"city\":\"Town {}\"}}", e.seq));
    }
    let make = || {
        PromptedSnapshot::new(
            TaskId(1),
            None,
            (&form(&request), None),
            ("m@1", "e"),
            &all,
            99,
            &PromptRules::default(),
        )
        .unwrap()
    };
    assert_eq!(make().form, "Help.\n\nTools:\nweather(city: string, unit?: C|F)");
    assert_eq!(make().id(), make().id());
    let script = Script::new(vec![
        said(tool_call("weather", r#"{"city": "Oslo"}"#), -0.2),
        said(tool_call("weather", r#"{"unit": "K"}"#), -0.2),
    ]);
    let p = prompted(make(), 0.0, "weather in Oslo?", &script);
    let answer = block_on(p.respond(ask(&request, None))).unwrap();
    assert_eq!(answer.stratum, "weather");
    {
        let asked = script.asked.lock().unwrap();
        assert_eq!(asked[0].shape, Some(ReplyShape::ToolCall));
        assert_eq!(asked[0].request.tool_choice, ToolChoice::Required);
        assert_eq!(asked[0].request.parallel_tool_calls, Some(false));
        assert_eq!(
            texts(&asked[0].request.messages)[12],
            r#"{"name": "weather", "arguments": {"city": "Town 0"}}"#
        );
    }
    assert_eq!(block_on(p.respond(ask(&request, None))).unwrap_err(), Declined::Invalid);
}

#[test]
fn the_bar_is_handed_on_less_what_the_neighbours_already_cost() {
    let mut all = examples(20);
    // Far from everything: cosine of about 0.54.
    let script = Script::new(vec![said(choice("x"), -0.1), said(choice("x"), -3.0)]);
    let p = prompted(snapshot(&all, 99, &PromptRules::default()), 1.95, "where?", &script);
    let request = question("where?");
    let at_bar = |bar| block_on(p.respond(Ask { bar: Some(bar), ..ask(&request, None) }));
    assert_eq!(at_bar(-1.0).unwrap_err(), Declined::Novel);
    assert!(script.asked.lock().unwrap().is_empty());
    assert!(at_bar(-4.0).is_ok());
    assert!(script.asked.lock().unwrap()[0].bar.unwrap() > -4.0);
    assert_eq!(at_bar(-4.0).unwrap_err(), Declined::BelowBar);

    // Neighbours of two minds.
    for e in all.iter_mut().filter(|e| e.seq % 2 == 0) {
        e.reply = choice(r#"{"a": 1}"#);
    }
    let p = prompted(snapshot(&all, 99, &PromptRules::default()), 0.1, "where?", &script);
    let torn = block_on(p.respond(Ask { bar: Some(-0.3), ..ask(&request, None) }));
    assert_eq!(torn.unwrap_err(), Declined::BelowBar);
}

#[test]
fn a_model_that_changed_is_another_understudy() {
    let script = Script::new(vec![said(choice("x"), -0.1)]);
    let p = prompted(snapshot(&examples(5), 99, &PromptRules::default()), 0.0, "q", &script);
    *script.name.lock().unwrap() = "m@2".to_owned();
    assert_eq!(block_on(p.respond(ask(&question("q"), None))).unwrap_err(), Declined::Unavailable);
}

#[test]
fn the_same_exchanges_in_any_order_give_the_same_version_and_a_note_gives_it_back() {
    let all = examples(30);
    let mut other = all.clone();
    other.reverse();
    let s = snapshot(&all, 99, &PromptRules::default());
    assert_eq!(s.id(), snapshot(&other, 99, &PromptRules::default()).id());
    assert_ne!(s.id(), snapshot(&all, 20, &PromptRules::default()).id());
    let back: PromptedSnapshot = serde_json::from_value(serde_json::to_value(&s).unwrap()).unwrap();
    assert_eq!(back.id(), s.id());
}

#[test]
fn a_long_form_is_cut_in_the_middle() {
    let mut request = question("q");
    request.messages[0] = Message::text_of(Role::System, format!("Begin {} end.", "x".repeat(2_000)));
    let short = form_in_short(&form(&request), None, 300);
    assert!(short.starts_with("Begin ") && short.ends_with(" end.") && short.chars().count() < 320);
}
