//! A llama of some hundred kilobytes with weights by chance, as a GGUF file, and
//! LoRA adapters for it as PEFT writes them. Included by path where a test needs
//! one; it uses nothing but `serde_json`.
//!
//! Its weights stand on a grid that eight bits meet exactly, so that what is
//! exported computes with the very floats that are in [`Tiny::weights`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

pub(crate) const LAYERS: usize = 2;
pub(crate) const HIDDEN: usize = 64;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD_SIZE: usize = 16;
pub(crate) const FFN: usize = 96;
pub(crate) const VOCABULARY: usize = 288;
pub(crate) const CONTEXT: usize = 1024;
pub(crate) const ROPE_BASE: f32 = 10_000.0;
pub(crate) const EPSILON: f32 = 1e-5;

/// What a card must name to fit: the exporter is told that this is the file's hash.
pub(crate) const BASE: &str = "7111111111111111111111111111111111111111111111111111111111111117";

/// The linear layers of a block: PEFT's name, GGUF's, rows, columns.
pub(crate) const MODULES: [(&str, &str, usize, usize); 7] = [
    ("self_attn.q_proj", "attn_q", HEADS * HEAD_SIZE, HIDDEN),
    ("self_attn.k_proj", "attn_k", KV_HEADS * HEAD_SIZE, HIDDEN),
    ("self_attn.v_proj", "attn_v", KV_HEADS * HEAD_SIZE, HIDDEN),
    ("self_attn.o_proj", "attn_output", HIDDEN, HEADS * HEAD_SIZE),
    ("mlp.gate_proj", "ffn_gate", FFN, HIDDEN),
    ("mlp.up_proj", "ffn_up", FFN, HIDDEN),
    ("mlp.down_proj", "ffn_down", HIDDEN, FFN),
];

/// Numbers that look like chance, the same at every run (SplitMix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Near normal: the mean of some uniform draws.
    pub(crate) fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| (self.draw() >> 40) as f32 / (1_u64 << 24) as f32).sum();
        (sum - 2.0) * 1.7
    }
}

/// The model: tensors by GGUF's name without `.weight`, rows as the checkpoint
/// has them.
pub(crate) struct Tiny {
    pub(crate) weights: BTreeMap<String, Vec<f32>>,
    pub(crate) gguf: PathBuf,
}

impl Tiny {
    /// Writes `tiny.gguf` into `folder`.
    pub(crate) fn create(folder: &Path) -> Self {
        let mut chance = Chance(1);
        let mut weights = BTreeMap::new();
        let mut shapes: Vec<(String, usize, usize)> = vec![("token_embd".into(), VOCABULARY, HIDDEN)];
        for layer in 0..LAYERS {
            for (_, name, rows, columns) in MODULES {
                shapes.push((format!("blk.{layer}.{name}"), rows, columns));
            }
        }
        for (name, rows, columns) in &shapes {
            weights.insert(name.clone(), on_grid(&mut chance, rows * columns));
        }
        let norms = (0..LAYERS).flat_map(|l| [format!("blk.{l}.attn_norm"), format!("blk.{l}.ffn_norm")]);
        for name in norms.chain(["output_norm".to_owned()]) {
            weights.insert(name, (0..HIDDEN).map(|_| 1.0 + 0.1 * chance.normal()).collect());
        }
        let gguf = folder.join("tiny.gguf");
        std::fs::write(&gguf, gguf_bytes(&weights)).unwrap();
        Self { weights, gguf }
    }
}

/// Multiples of 1/1024 within a block's range of 255 steps, both ends met.
fn on_grid(chance: &mut Chance, count: usize) -> Vec<f32> {
    let mut levels: Vec<i64> = (0..count).map(|_| (chance.draw() % 256) as i64 - 127).collect();
    for block in levels.chunks_mut(32) {
        block[0] = -127;
        block[1] = 128;
        let at = (chance.draw() % 32) as usize;
        block.swap(0, at);
    }
    levels.into_iter().map(|l| l as f32 / 1024.0).collect()
}

fn gguf_bytes(weights: &BTreeMap<String, Vec<f32>>) -> Vec<u8> {
    let mut keys = Keys::default();
    keys.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", FFN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ] {
        keys.size(&format!("llama.{key}"), value);
    }
    keys.float("llama.attention.layer_norm_rms_epsilon", EPSILON);
    keys.float("llama.rope.freq_base", ROPE_BASE);
    keys.text("tokenizer.ggml.model", "gpt2");
    keys.text("tokenizer.ggml.pre", "smollm");
    let mut tokens: Vec<String> = alphabet().into_iter().map(String::from).collect();
    tokens.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    tokens.extend((tokens.len()..VOCABULARY).map(|i| format!("<unused_{i}>")));
    keys.texts("tokenizer.ggml.tokens", &tokens);
    keys.ints("tokenizer.ggml.token_type", (0..VOCABULARY).map(|i| if i < 256 { 1 } else { 3 }));
    keys.texts("tokenizer.ggml.merges", &[]);
    keys.size("tokenizer.ggml.eos_token_id", 258);
    keys.size("tokenizer.ggml.bos_token_id", 257);
    keys.text("tokenizer.chat_template", CHATML);

    let (mut table, mut data) = (Vec::new(), Vec::new());
    for (name, values) in weights {
        let heads = match name.rsplit('.').next() {
            Some("attn_q") => HEADS,
            Some("attn_k") => KV_HEADS,
            _ => 0,
        };
        let columns = match MODULES.iter().find(|m| name.ends_with(m.1)) {
            Some((_, _, _, columns)) => *columns,
            None if name == "token_embd" => HIDDEN,
            None => values.len(),
        };
        let values = if heads > 0 { permute(values, columns, heads) } else { values.clone() };
        text(&mut table, &format!("{name}.weight"));
        let shape: Vec<usize> =
            if columns == values.len() { vec![columns] } else { vec![columns, values.len() / columns] };
        table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|d| table.extend((*d as u64).to_le_bytes()));
        table.extend(0_u32.to_le_bytes());
        table.extend((data.len() as u64).to_le_bytes());
        values.iter().for_each(|v| data.extend(v.to_le_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((weights.len() as u64).to_le_bytes());
    out.extend(keys.count.to_le_bytes());
    out.extend(keys.bytes);
    out.extend(table);
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

/// As llama.cpp's converter turns a llama's query and key rows: the halves of
/// each head interleaved.
fn permute(weights: &[f32], columns: usize, heads: usize) -> Vec<f32> {
    let size = weights.len() / columns / heads;
    let mut out = Vec::new();
    for head in 0..heads {
        for pair in 0..size / 2 {
            for half in 0..2 {
                let row = head * size + half * (size / 2) + pair;
                out.extend_from_slice(&weights[row * columns..][..columns]);
            }
        }
    }
    out
}

#[derive(Default)]
struct Keys {
    count: u64,
    bytes: Vec<u8>,
}

impl Keys {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text(&mut self.bytes, value);
    }

    fn size(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        self.bytes.extend((value as u32).to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        self.key(key, 9);
        self.bytes.extend(8_u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|v| text(&mut self.bytes, v));
    }

    fn ints(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) {
        self.key(key, 9);
        self.bytes.extend(5_u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.for_each(|v| self.bytes.extend(v.to_le_bytes()));
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// GPT-2's letters for the 256 bytes.
fn alphabet() -> Vec<char> {
    let plain = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let letter = |b: u32| {
        if plain(b) {
            return char::from_u32(b).unwrap();
        }
        next += 1;
        char::from_u32(next - 1).unwrap()
    };
    (0..256).map(letter).collect()
}

/// The template of the base, and that of an adapter. No line break stands at its
/// end, since Jinja's readers take one off there.
pub(crate) const CHATML: &str = concat!(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "<|im_start|>assistant{{ '\\n' }}"
);

/// A and B, row by row.
type Pair = (Vec<f32>, Vec<f32>);

/// A LoRA by chance: for each layer and module, A `[rank, columns]` and B
/// `[rows, rank]`, row by row, rounded to what a 16-bit float holds.
pub(crate) struct Lora {
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
    pub(crate) tensors: BTreeMap<(usize, &'static str), Pair>,
}

impl Lora {
    pub(crate) fn draw(seed: u64, rank: usize) -> Self {
        let mut chance = Chance(seed);
        let mut tensors = BTreeMap::new();
        for layer in 0..LAYERS {
            for (module, _, rows, columns) in MODULES {
                let mut matrix = |count: usize, size: f32| -> Vec<f32> {
                    // Eight bits of mantissa: exact in bfloat16 and float16 alike.
                    let cut = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
                    (0..count).map(|_| cut(chance.normal() * size + size / 8.0)).collect()
                };
                tensors.insert((layer, module), (matrix(rank * columns, 0.1), matrix(rows * rank, 0.1)));
            }
        }
        Self { rank, alpha: 2.0 * rank as f32, tensors }
    }

    /// PEFT's `adapter_config.json`.
    pub(crate) fn config(&self) -> Value {
        let names: Vec<&str> = MODULES.iter().filter_map(|m| m.0.rsplit('.').next()).collect();
        json!({"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": self.rank,
            "lora_alpha": self.alpha, "target_modules": names, "bias": "none", "use_dora": false,
            "use_rslora": false, "fan_in_fan_out": false, "modules_to_save": null,
            "layers_to_transform": null, "rank_pattern": {}, "alpha_pattern": {}})
    }

    /// Writes the folder, weights in `form`.
    pub(crate) fn write(&self, folder: &Path, form: Form) {
        std::fs::create_dir_all(folder).unwrap();
        let (mut header, mut data) = (Map::new(), Vec::new());
        for ((layer, module), (a, b)) in &self.tensors {
            for (half, values, shape) in
                [("A", a, [self.rank, a.len() / self.rank]), ("B", b, [b.len() / self.rank, self.rank])]
            {
                let from = data.len();
                values.iter().for_each(|v| data.extend(form.bytes(*v)));
                header.insert(
                    format!("base_model.model.model.layers.{layer}.{module}.lora_{half}.weight"),
                    json!({"dtype": form.name(), "shape": shape, "data_offsets": [from, data.len()]}),
                );
            }
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
        let json = |name: &str, value: Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
        json("adapter_config.json", self.config());
        json("card.json", json!({"base": {"name": "tiny", "gguf_sha256": BASE, "licence": "Apache-2.0"}}));
        std::fs::write(folder.join("chat_template.jinja"), CHATML).unwrap();
    }
}

/// How an adapter's weights are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    F16,
    Bf16,
    F32,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        }
    }

    fn bytes(self, value: f32) -> Vec<u8> {
        let bits = value.to_bits();
        match self {
            Self::F32 => bits.to_le_bytes().to_vec(),
            Self::Bf16 => ((bits >> 16) as u16).to_le_bytes().to_vec(),
            Self::F16 => half_bits(bits).to_le_bytes().to_vec(),
        }
    }
}

/// Of a value that a 16-bit float holds exactly; what is too small is zero, and
/// what is not finite stays so.
fn half_bits(bits: u32) -> u16 {
    let (sign, exponent, mantissa) =
        ((bits >> 16) as u16 & 0x8000, (bits >> 23) as i32 & 255, bits & 0x7f_ffff);
    match exponent - 127 + 15 {
        144.. => sign | 0x7c00 | u16::from(mantissa != 0),
        e @ 1..=30 => sign | (e as u16) << 10 | (mantissa >> 13) as u16,
        _ => sign,
    }
}
