//! Prefill and decode speed of a chat model: 256 tokens in, 64 out, best of five.
//!
//! `cargo run --release -p understudy-onnx --example speed -- FOLDER [THREADS]`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;

use anyhow::Context as _;
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::{Decoding, Generation, Generator, Grammar, LoadOptions, Prompt};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("usage: speed FOLDER [THREADS]")?);
    let threads: usize = args.next().map_or(Ok(0), |t| t.parse())?;
    let opts = LoadOptions { threads, caches: 1, ..LoadOptions::default() };
    let mut model = Generator::load(&ModelFolder::open(&folder)?, &opts)?;

    // An array of long strings does not end within 64 tokens.
    let endless =
        serde_json::json!({"type": "array", "items": {"type": "string", "minLength": 400}, "minItems": 9});
    let decoding =
        Decoding { max_tokens: 64, grammar: Some(Grammar::JsonSchema(endless)), ..Decoding::default() };
    let mut best: Option<(Generation, f64, f64)> = None;
    for round in 0..5 {
        // Each prompt begins otherwise, so that no prefix is reused.
        let g = model.generate(&prompt(&model, round), &decoding, &())?;
        let computed = g.prompt_tokens - g.cached_tokens;
        let prefill = computed as f64 / g.prefill.as_secs_f64();
        let decode = g.reply_tokens as f64 / g.decode.as_secs_f64();
        println!("round {round}: {computed} in at {prefill:.0}/s, {} out at {decode:.0}/s", g.reply_tokens);
        if best.as_ref().is_none_or(|b| prefill > b.1) {
            best = Some((g, prefill, decode.max(best.as_ref().map_or(0.0, |b| b.2))));
        } else if let Some(b) = &mut best {
            b.2 = b.2.max(decode);
        }
    }
    if let Some((g, prefill, decode)) = best {
        println!(
            "{} on {}: prefill {prefill:.0} tokens/s, decode {decode:.0} tokens/s ({} in, {} out, {} threads)",
            folder.display(),
            model.execution_provider(),
            g.prompt_tokens,
            g.reply_tokens,
            if threads == 0 { "all".to_owned() } else { threads.to_string() }
        );
    }
    Ok(())
}

fn prompt(model: &Generator, round: usize) -> Prompt {
    const WORDS: [&str; 8] = [" the", " agent", " looked", " for", " a", " quiet", " place", " and"];
    let mut text = format!("Round {round}:");
    for word in WORDS.iter().cycle().skip(round) {
        if model.count_tokens(&text) >= 256 {
            break;
        }
        text.push_str(word);
    }
    Prompt(text)
}
