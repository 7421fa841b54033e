//! What adapters cost: memory of many, time of a switch, and the speed of the
//! base beside the adapter's, in turns (256 tokens in, 64 out).
//!
//! `cargo run --release -p understudy-onnx --example adapters -- FOLDER ADAPTER [COUNT] [THREADS]`
//!
//! ADAPTER is read COUNT times (50 by default), each a copy of its own.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::{Adapter, Decoding, Generation, Generator, Grammar, LoadOptions, Prompt};

const ROUNDS: usize = 6;
const MIB: f64 = (1 << 20) as f64;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut path =
        || args.next().map(PathBuf::from).context("usage: adapters FOLDER ADAPTER [COUNT] [THREADS]");
    let (folder, adapter) = (path()?, path()?);
    let count: usize = args.next().map_or(Ok(50), |n| n.parse())?;
    let threads: usize = args.next().map_or(Ok(0), |n| n.parse())?;
    let opts = LoadOptions { threads, caches: 1, ..LoadOptions::default() };
    let mut model = Generator::load(&ModelFolder::open(&folder)?, &opts)?;
    let prompt = |model: &Generator, round| Prompt(words(model, round));

    let first = prompt(&model, 0);
    ask(&mut model, &first, None, 8)?;
    let before = private_bytes()?;
    let slots = model.adapter_slots()?;
    let began = Instant::now();
    let many =
        (0..count).map(|_| Adapter::load(&adapter, &slots).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let read = began.elapsed();
    let one = many.first().context("COUNT is 0")?;
    let loaded = private_bytes()?;
    for a in &many {
        ask(&mut model, &first, Some(a), 8)?;
    }
    let used = private_bytes()?;
    println!(
        "rank {}: {:.2} MiB of weights each; {count} loaded cost {:.1} MiB ({:.2} each), and {:.1} MiB \
         ({:.2} each) once all have run; {:.1} ms to read one",
        one.rank(),
        one.bytes() as f64 / MIB,
        (loaded - before) / MIB,
        (loaded - before) / MIB / count as f64,
        (used - before) / MIB,
        (used - before) / MIB / count as f64,
        read.as_secs_f64() * 1e3 / count as f64,
    );

    // A short prompt again and again: under one adapter, then each time another.
    let short = Prompt("wake me at five".to_owned());
    let mut least = [Duration::MAX; 2];
    for (i, a) in many.iter().enumerate().cycle().take(2 * count.max(20)) {
        for (kind, adapter) in [one, a].into_iter().enumerate() {
            if kind == 0 {
                ask(&mut model, &short, Some(one), 1)?;
            }
            let began = Instant::now();
            ask(&mut model, &short, Some(adapter), 1)?;
            if let Some(l) = least.get_mut(kind).filter(|_| kind == 0 || i > 2) {
                *l = began.elapsed().min(*l);
            }
        }
    }
    let [same, other] = least.map(|d| d.as_secs_f64() * 1e3);
    println!("switch: {:.1} ms more than the same adapter again ({same:.1} ms for 5 tokens)", other - same);

    let mut best = [[0.0_f64; 2]; 2];
    for round in 0..ROUNDS {
        for (kind, adapter) in [None, Some(one)].into_iter().enumerate() {
            let text = prompt(&model, 2 * round + kind);
            let g = ask(&mut model, &text, adapter, 64)?;
            let prefill = (g.prompt_tokens - g.cached_tokens) as f64 / g.prefill.as_secs_f64();
            let decode = g.reply_tokens as f64 / g.decode.as_secs_f64();
            if let Some([p, d]) = best.get_mut(kind) {
                (*p, *d) = (p.max(prefill), d.max(decode));
            }
        }
    }
    for (name, [prefill, decode]) in ["base", "adapter"].into_iter().zip(best) {
        println!("{name}: prefill {prefill:.0} tokens/s, decode {decode:.1} tokens/s");
    }
    Ok(())
}

fn ask(
    model: &mut Generator,
    prompt: &Prompt,
    adapter: Option<&Arc<Adapter>>,
    max_tokens: usize,
) -> anyhow::Result<Generation> {
    // An array of long strings does not end within 64 tokens.
    let endless =
        serde_json::json!({"type": "array", "items": {"type": "string", "minLength": 400}, "minItems": 9});
    let grammar = Some(Grammar::JsonSchema(endless));
    let decoding = Decoding { max_tokens, grammar, adapter: adapter.cloned(), ..Decoding::default() };
    Ok(model.generate(prompt, &decoding, &())?)
}

/// Each begins otherwise, so that no prefix is reused.
fn words(model: &Generator, round: usize) -> String {
    const WORDS: [&str; 8] = [" the", " agent", " looked", " for", " a", " quiet", " place", " and"];
    let mut text = format!("Round {round}:");
    for word in WORDS.iter().cycle().skip(round) {
        if model.count_tokens(&text) >= 256 {
            break;
        }
        text.push_str(word);
    }
    text
}

/// Resident memory that is no file's, in bytes.
fn private_bytes() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024.0)
}
