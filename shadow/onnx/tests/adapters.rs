//! What the graph computes with an adapter's tensors beside its own 8-bit
//! weights, against the dequantised weights + B A in float32, at every step of
//! the replies that it writes.
//!
//! A trained adapter is measured on its own prompts by
//! `UNDERSTUDY_REFERENCE_ADAPTER=FOLDER UNDERSTUDY_REFERENCE_ROWS=ROWS.jsonl`,
//! where the rows are those of `understudy curate TASK --out ROWS.jsonl`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "reference/bench.rs"]
mod bench;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use understudy_call::{Message, Role};
use understudy_onnx::export::recipe;
use understudy_onnx::{Adapter, Decoding, Generator, LoadOptions, Prompt};

use bench::{ASKED, bench};

const NAME: &str = "smollm2-135m-instruct";
const LAYERS: usize = 30;
const RANK: usize = 16;
/// SmolLM2-135M's linear layers: name, rows, columns.
const MODULES: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", 576, 576),
    ("self_attn.k_proj", 192, 576),
    ("self_attn.v_proj", 192, 576),
    ("self_attn.o_proj", 576, 576),
    ("mlp.gate_proj", 1536, 576),
    ("mlp.up_proj", 1536, 576),
    ("mlp.down_proj", 576, 1536),
];
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant{{ '\\n' }}";
const REPLY: usize = 32;
const ROWS: usize = 200;

/// An adapter by chance whose updates are as large as a trained one's: a twentieth
/// of the weights' own size.
fn draw(folder: &Path, base_sha256: &str) {
    let mut chance = ChaCha8Rng::seed_from_u64(3);
    let (mut header, mut data) = (BTreeMap::new(), Vec::<u8>::new());
    for layer in 0..LAYERS {
        for (module, rows, columns) in MODULES {
            let sizes = [("A", RANK, columns, 1.0 / (columns as f32).sqrt()), ("B", rows, RANK, 0.004)];
            for (half, height, width, most) in sizes {
                let from = data.len();
                (0..height * width).for_each(|_| data.extend(chance.random_range(-most..most).to_le_bytes()));
                header.insert(
                    format!("base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"),
                    json!({"dtype": "F32", "shape": [height, width], "data_offsets": [from, data.len()]}),
                );
            }
        }
    }
    let header = json!(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
    let modules: Vec<&str> = MODULES.iter().map(|m| m.0.rsplit('.').next().unwrap()).collect();
    let write = |name: &str, value: Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    write(
        "adapter_config.json",
        json!({"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none", "target_modules": modules}),
    );
    write("card.json", json!({"base": {"name": NAME, "gguf_sha256": base_sha256, "licence": "Apache-2.0"}}));
    std::fs::write(folder.join("chat_template.jinja"), CHATML).unwrap();
}

/// What is asked: a trained adapter's own questions, or some.
fn questions() -> Vec<Vec<Message>> {
    let Some(rows) = std::env::var_os("UNDERSTUDY_REFERENCE_ROWS") else {
        return ASKED.iter().map(|q| vec![Message::text_of(Role::User, *q)]).collect();
    };
    let rows = std::fs::read_to_string(rows).unwrap();
    let rows = rows.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let turn = |m: &Value| {
        let role: Role = serde_json::from_value(m["role"].clone()).unwrap();
        Message::text_of(role, m["content"].as_str().unwrap())
    };
    let turns = rows.filter(|r| r["split"] == "development").take(ROWS);
    turns.map(|r| r["messages"].as_array().unwrap().iter().map(turn).collect()).collect()
}

#[test]
fn an_adapters_steps_are_the_references() {
    let bench = match bench(NAME, "numpy, gguf") {
        Ok(bench) => bench,
        Err(why) => return eprintln!("skipped: steps of an adapter: {why}"),
    };
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        return eprintln!("skipped: steps of an adapter: ORT_DYLIB_PATH is not set (scripts/onnxruntime.sh)");
    }
    let trained = std::env::var_os("UNDERSTUDY_REFERENCE_ADAPTER").map(PathBuf::from);
    let folder = trained.clone().unwrap_or_else(|| bench.work.path().join("adapter"));
    if trained.is_none() {
        std::fs::create_dir(&folder).unwrap();
        draw(&folder, recipe(NAME).unwrap().sha256);
    }
    let mut model =
        Generator::load(&bench.folder, &LoadOptions { threads: 2, ..LoadOptions::default() }).unwrap();
    let adapter = Arc::new(Adapter::load(&folder, &model.adapter_slots().unwrap()).unwrap());
    let tokenizer = bench.tokenizer();
    let (mut pairs, mut ours) = (Vec::new(), Vec::new());
    for turns in questions() {
        let text = adapter.render_chat(&turns).unwrap();
        let prompt = tokenizer.encode(text.as_str(), false).unwrap().get_ids().to_vec();
        let adapter = Some(Arc::clone(&adapter));
        let decoding = Decoding { max_tokens: REPLY, want_logprobs: true, adapter, ..Decoding::default() };
        let said = model.generate(&Prompt(text), &decoding, &()).unwrap().tokens;
        pairs.push((prompt, said.iter().map(|t| t.id).collect::<Vec<u32>>()));
        ours.extend(said.into_iter().map(|t| (t.id, t.logprob.unwrap())));
    }
    let out = bench.work.path().join("steps.json");
    bench.run("logits.py", &json!(pairs).to_string(), &[&out, &folder]);
    let theirs: Vec<Vec<(u32, f64, f64, f64)>> =
        serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    let theirs: Vec<_> = theirs.into_iter().flatten().collect();
    assert!(ours.len() > 100 && ours.len() == theirs.len(), "{} and {} steps", ours.len(), theirs.len());
    let (mut agree, mut worst, mut mean) = (0, 0.0_f64, 0.0);
    for ((id, logprob), (best, _, chosen, margin)) in ours.iter().zip(&theirs) {
        agree += usize::from(id == best);
        // A clear choice of the reference is ours too.
        assert!(id == best || *margin < 0.5, "{id} is not {best}, which leads by {margin}");
        worst = worst.max((logprob - chosen).abs());
        mean += (logprob - chosen).abs() / ours.len() as f64;
    }
    eprintln!(
        "{agree} of {} argmax agree; log-probability of the token: mean error {mean:.4}, largest {worst:.3} nats",
        ours.len()
    );
    // Of a drawn adapter, which is less sure of its words than a trained one.
    assert!(agree * 100 >= ours.len() * 95 && mean < 0.1, "{agree} of {}, mean error {mean}", ours.len());
}
