#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]
//! These run on the real model: the folder `smollm2-135m-instruct` under
//! `UNDERSTUDY_MODELS`, with ONNX Runtime at `ORT_DYLIB_PATH`.

use std::cell::Cell;
use std::path::PathBuf;

use serde_json::json;
use understudy_call::{CallText, Declined, Role, ToolChoice};

use super::*;
use crate::Grammar;

fn folder() -> Option<ModelFolder> {
    let Some(models) = std::env::var_os("UNDERSTUDY_MODELS") else {
        println!("skipped: UNDERSTUDY_MODELS is unset");
        return None;
    };
    Some(ModelFolder::open(&PathBuf::from(models).join("smollm2-135m-instruct")).unwrap())
}

fn options() -> LoadOptions {
    LoadOptions {
        threads: 2,
        providers: vec![ExecutionProvider::Cpu],
        prefill_chunk: 64,
        ..LoadOptions::default()
    }
}

fn model() -> Option<Generator> {
    folder().map(|f| Generator::load(&f, &options()).unwrap())
}

fn chat(g: &Generator, system: &str, user: &str) -> Prompt {
    let messages = [Message::text_of(Role::System, system), Message::text_of(Role::User, user)];
    Prompt(g.render_chat(&messages, &[]).unwrap())
}

fn upto(max_tokens: usize) -> Decoding {
    Decoding { max_tokens, want_logprobs: true, ..Decoding::default() }
}

fn weather() -> Tool {
    Tool {
        name: "get_weather".into(),
        description: None,
        parameters: json!({"type": "object", "properties": {"city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, "required": ["city", "unit"]}),
        strict: None,
        extra: serde_json::Map::new(),
    }
}

#[test]
fn a_question_is_answered_and_counted() {
    let Some(mut g) = model() else { return };
    let prompt =
        chat(&g, "You are a helpful assistant.", "What is the capital of France? Answer in one word.");
    let r = g.generate(&prompt, &upto(24), &()).unwrap();
    assert!(r.text.contains("Paris"), "{}", r.text);
    assert_eq!((r.finish.clone(), r.at_stop), (Finish::Stop, false));
    assert_eq!(r.prompt_tokens, g.count_tokens(&prompt.0));
    assert_eq!(r.reply_tokens, r.tokens.len());
    assert_eq!(r.free_count, r.tokens.len());
    let sum: f64 = r.tokens.iter().filter_map(|t| t.logprob).sum();
    assert!((sum - r.free_sum).abs() < 1e-9 && r.free_sum < 0.0 && r.free_min >= r.free_sum);
    assert_eq!(g.execution_provider(), "cpu");
}

#[test]
fn shared_buffers_passed_caches_and_chunks_say_the_same() {
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You tell short stories.", &"Tell me about a fox and a crow. ".repeat(8));
    let want = g.generate(&prompt, &upto(24), &()).unwrap();

    let mut whole =
        Generator::load(&folder().unwrap(), &LoadOptions { prefill_chunk: 4096, ..options() }).unwrap();
    let got = whole.generate(&prompt, &upto(24), &()).unwrap();
    assert_eq!(got.text, want.text);

    let mut passed = Generator::load(&folder().unwrap(), &options()).unwrap();
    passed.graph.pass_presents();
    let got = passed.generate(&prompt, &upto(24), &()).unwrap();
    assert_eq!(got.text, want.text);
    assert!((got.free_sum - want.free_sum).abs() < 0.05, "{} {}", got.free_sum, want.free_sum);
    let again = passed.generate(&prompt, &upto(24), &()).unwrap();
    assert_eq!((again.text, again.cached_tokens), (want.text.clone(), want.prompt_tokens - FED_ANEW));
}

#[test]
fn a_shared_head_is_not_computed_twice_and_changes_nothing() {
    let Some(mut g) = model() else { return };
    let system = "You answer questions about cities in one short sentence. ".repeat(6);
    let first = chat(&g, &system, "Where is Rome?");
    let second = chat(&g, &system, "Where is Oslo?");
    let cold = g.generate(&second, &upto(16), &()).unwrap();
    g.idle.clear();
    g.generate(&first, &upto(16), &()).unwrap();
    let warm = g.generate(&second, &upto(16), &()).unwrap();
    assert_eq!(warm.text, cold.text);
    assert!((warm.free_sum - cold.free_sum).abs() < 0.05);
    assert_eq!(cold.cached_tokens, 0);
    assert!(warm.cached_tokens > 50 && warm.cached_tokens < warm.prompt_tokens);
    assert_eq!(g.idle.len(), 1);
}

#[test]
fn a_cache_grows_past_its_first_capacity() {
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You count.", "Count from one, in words, for ever.");
    let decoding = Decoding { temperature: 0.7, seed: 5, ..upto(700) };
    let grammar = Grammar::JsonSchema(
        json!({"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 400}),
    );
    let r = g.generate(&prompt, &Decoding { grammar: Some(grammar), ..decoding }, &()).unwrap();
    assert_eq!((r.finish, r.reply_tokens), (Finish::Length, 700));
}

#[test]
fn a_tool_call_is_right_by_construction_and_mostly_forced() {
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You call tools.", "What is the weather in Berlin, in celsius?");
    let grammar = Grammar::ToolCall {
        tools: vec![weather()].into(),
        choice: ToolChoice::Required,
        parallel: false,
        written: CallText::Json,
        or_nothing: false,
    };
    let r = g.generate(&prompt, &Decoding { grammar: Some(grammar), ..upto(80) }, &()).unwrap();
    assert_eq!(r.finish, Finish::Stop);
    let call: serde_json::Value = serde_json::from_str(&r.text).unwrap();
    assert_eq!(call["name"], "get_weather");
    assert!(call["arguments"]["city"].as_str().unwrap().contains("Berlin"), "{}", r.text);
    assert!(r.free_count < r.reply_tokens / 2, "{} of {}", r.free_count, r.reply_tokens);
    assert!(r.tokens.iter().filter(|t| t.forced).count() > 10);
    assert_eq!(r.tokens.iter().map(|t| t.text.as_str()).collect::<String>(), r.text);
}

#[test]
fn a_low_confidence_declines_early() {
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You invent names.", "Invent a name for a planet.");
    let e = g.generate(&prompt, &Decoding { bar: Some(-0.01), ..upto(200) }, &()).unwrap_err();
    assert!(matches!(e, GenerateError::Declined(Declined::BelowBar)), "{e}");
    assert_eq!(g.idle.len(), 1, "the cache is kept");
}

#[test]
fn whoever_drives_it_may_stop_it_between_any_two_steps() {
    struct After(Cell<u32>);
    impl Control for After {
        fn between_tokens(&self) -> Step {
            self.0.set(self.0.get().saturating_sub(1));
            if self.0.get() == 0 { Step::Stop(Declined::Cancelled) } else { Step::Go }
        }
    }
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You tell stories.", &"A long story, please. ".repeat(40));
    for steps in [1, 2, 5] {
        let e = g.generate(&prompt, &upto(100), &After(Cell::new(steps))).unwrap_err();
        assert_eq!(e.declined(), Declined::Cancelled);
    }
}

#[test]
fn two_runs_take_turns_without_mixing() {
    let Some(mut g) = model() else { return };
    let a = chat(&g, "You are helpful.", "Name a colour.");
    let b = chat(&g, "You are helpful.", "Name an animal.");
    let (want_a, want_b) =
        (g.generate(&a, &upto(12), &()).unwrap().text, g.generate(&b, &upto(12), &()).unwrap().text);
    let mut run_a = g.begin(&a, &upto(12)).unwrap();
    g.step(&mut run_a).unwrap();
    let mut run_b = g.begin(&b, &upto(12)).unwrap();
    while run_a.finish().is_none() || run_b.finish().is_none() {
        g.step(&mut run_b).unwrap();
        g.step(&mut run_a).unwrap();
    }
    assert_eq!((g.finish(run_a).text, g.finish(run_b).text), (want_a, want_b));
}

#[test]
fn a_seed_means_one_reply() {
    let Some(mut g) = model() else { return };
    let prompt = chat(&g, "You write poems.", "A line about the sea.");
    let mut reply = |seed| {
        g.generate(&prompt, &Decoding { temperature: 1.0, top_p: 0.95, seed, ..upto(16) }, &()).unwrap().text
    };
    let first = reply(1);
    assert_eq!(first, reply(1));
    assert_ne!(first, reply(2));
}

#[test]
fn stop_texts_end_the_reply_before_them() {
    let Some(mut g) = model() else { return };
    let prompt =
        chat(&g, "You are a helpful assistant.", "What is the capital of France? Answer in one word.");
    let r = g.generate(&prompt, &Decoding { stop: vec!["ari".into()], ..upto(24) }, &()).unwrap();
    assert!(r.text.ends_with('P') && r.finish == Finish::Stop && r.at_stop, "{}", r.text);
}

#[test]
fn a_prompt_over_the_context_is_refused() {
    let Some(mut g) = model() else { return };
    let e = g.begin(&Prompt("word ".repeat(9000)), &upto(4)).err().unwrap();
    assert!(matches!(e, GenerateError::TooLong { context: 8192, .. }), "{e}");
    assert_eq!(e.declined(), Declined::TooLong);
}
