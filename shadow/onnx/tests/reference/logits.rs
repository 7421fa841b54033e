//! Logits after the last token of a prompt.

use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynTensor, Tensor, TensorElementType};

use understudy_onnx::contract::ModelFolder;

use super::bench::{ASKED, bench};
use super::environment;

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
    bench.run("logits.py", &serde_json::to_string(&ids).unwrap(), &[&out]);
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
