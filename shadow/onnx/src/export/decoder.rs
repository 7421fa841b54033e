//! The graph of a decoder-only model, for the architectures that the exporter
//! knows: llama (SmolLM2, Llama, Mistral) and gemma3.
//!
//! Phases: tokens → scaled embedding → per layer (norm, attention with its
//! cache, norm, gated feed-forward) → last position → norm → tied head.
//! Names of inputs and outputs are those of ONNX Runtime GenAI's builder.

mod linear;

use std::collections::{BTreeMap, BTreeSet};

use linear::Stored;
#[cfg(test)]
pub(super) use linear::unpermute;

use super::ExportError;
use super::gguf::Gguf;
use super::graph::{Axis, Graph};
use super::pack::BLOCK;
use super::proto::{Attribute, Element};
use super::shape::{Activation, Attention, Decoder, Qk};
use super::{Progress, Stage, Weights};

/// Writes the whole graph.
pub(crate) fn write(
    gguf: &Gguf,
    d: &Decoder,
    weights: Weights,
    graph: Graph,
    folder: &std::path::Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ExportError> {
    let mut w = Writer { gguf, d, weights, graph, seen: BTreeMap::new(), shapes: BTreeSet::new() };
    w.io();
    w.lengths();
    w.rotary()?;
    let mut stream = w.embedding()?;
    let mut pending: Option<String> = None;
    for layer in 0..d.layers {
        progress(Progress { stage: Stage::Export, done: layer as u64, total: d.layers as u64 });
        (stream, pending) = w.layer(layer, stream, pending)?;
    }
    w.head(stream, pending)?;
    progress(Progress { stage: Stage::Export, done: d.layers as u64, total: d.layers as u64 });
    w.graph.finish(folder)
}

struct Writer<'a> {
    gguf: &'a Gguf,
    d: &'a Decoder,
    weights: Weights,
    graph: Graph,
    /// Where the pieces of a packed tensor lie, for those used twice.
    seen: BTreeMap<String, Stored>,
    /// Shapes that are in the graph already.
    shapes: BTreeSet<String>,
}

impl Writer<'_> {
    fn io(&mut self) {
        let tokens = [Axis::Named("batch_size"), Axis::Named("sequence_length")];
        let total = [Axis::Named("batch_size"), Axis::Named("total_sequence_length")];
        self.graph.input("input_ids", Element::Int64, &tokens);
        self.graph.input("attention_mask", Element::Int64, &total);
        let cache = |length| {
            [
                Axis::Named("batch_size"),
                Axis::Fixed(self.d.kv_heads),
                Axis::Named(length),
                Axis::Fixed(self.d.head_size),
            ]
        };
        let (past, present) = (cache("past_sequence_length"), cache("total_sequence_length"));
        let element = self.attention_element();
        let logits = [Axis::Named("batch_size"), Axis::Fixed(1), Axis::Fixed(self.d.vocabulary)];
        self.graph.output("logits", Element::Float, &logits);
        for layer in 0..self.d.layers {
            for half in ["key", "value"] {
                let name = format!("past_key_values.{layer}.{half}");
                self.graph.input(&name, element, &past);
                let name = format!("present.{layer}.{half}");
                self.graph.output(&name, element, &present);
            }
        }
    }

    fn attention_element(&self) -> Element {
        if self.weights.half_attention { Element::Float16 } else { Element::Float }
    }

    /// Into attention's 16 bits and out again: itself where it keeps to 32, or where
    /// an input is left out.
    fn cast(&mut self, from: String, to: Element) -> String {
        if from.is_empty() || !self.weights.half_attention {
            return from;
        }
        let out = format!("{from}.{}", if to == Element::Float16 { "half" } else { "float" });
        self.graph.node("Cast", &[&from], &[&out], vec![Attribute::int("to", to as i64)]);
        out
    }

    /// `seqlens_k` (last index of each row) and the total length, from the mask.
    fn lengths(&mut self) {
        let g = &mut self.graph;
        g.ints("axis_1", &[1], &[1]);
        g.ints("one", &[1], &[1]);
        g.ints("last", &[1], &[-1]);
        g.ints("index_1", &[], &[1]);
        let cast = || vec![Attribute::int("to", Element::Int32 as i64)];
        let flat = vec![Attribute::int("keepdims", 0)];
        g.node("ReduceSum", &["attention_mask", "axis_1"], &["mask_sum"], flat);
        g.node("Sub", &["mask_sum", "one"], &["last_index"], vec![]);
        g.node("Cast", &["last_index"], &["seqlens_k"], cast());
        g.node("Shape", &["input_ids"], &["ids_shape"], vec![]);
        g.node("Shape", &["attention_mask"], &["mask_shape"], vec![]);
        let axis = vec![Attribute::int("axis", 0)];
        g.node("Gather", &["mask_shape", "index_1"], &["total_length"], axis);
        g.node("Cast", &["total_length"], &["total_sequence_length"], cast());
    }

    /// Cosines and sines for every position and each rope base.
    fn rotary(&mut self) -> Result<(), ExportError> {
        let (half, length) = (self.d.head_size / 2, self.d.context);
        for attention in self.d.attentions() {
            let mut cos = Vec::with_capacity(half * length);
            let mut sin = Vec::with_capacity(half * length);
            for position in 0..length {
                for i in 0..half {
                    let power = -2.0 * i as f64 / self.d.head_size as f64;
                    let angle = position as f64 * f64::from(attention.rope_base).powf(power);
                    cos.push(angle.cos() as f32);
                    sin.push(angle.sin() as f32);
                }
            }
            let (c, s) = attention.caches();
            for (name, values) in [(c, &cos), (s, &sin)] {
                if self.weights.half_attention {
                    self.graph.halves(name, &[length, half], values)?;
                } else {
                    self.graph.floats(name, &[length, half], values)?;
                }
            }
        }
        Ok(())
    }

    fn embedding(&mut self) -> Result<String, ExportError> {
        let stored = self.stored("token_embd.weight", self.weights.head)?;
        let (rows, columns) = (stored.rows, stored.columns);
        let blocks = columns / BLOCK;
        let width = columns * stored.bits.count() / 8;
        let g = &mut self.graph;
        g.initializer("embedding.data", Element::Uint8, &[rows, width], stored.data);
        g.initializer("embedding.scales", Element::Float, &[rows, blocks], stored.scales);
        let mut inputs = vec!["embedding.data", "input_ids", "embedding.scales"];
        if let Some((extent, bytes)) = stored.zeros {
            g.initializer("embedding.zeros", Element::Uint8, &[rows, bytes], extent);
            inputs.push("embedding.zeros");
        }
        let attributes = vec![
            Attribute::int("bits", stored.bits.count() as i64),
            Attribute::int("block_size", BLOCK as i64),
            Attribute::int("gather_axis", 0),
            Attribute::int("quantize_axis", 1),
        ];
        g.contrib("GatherBlockQuantized", &inputs, &["embedding.turns"], attributes);
        let rows = self.rows("embedding.turns", "embedding", self.d.hidden);
        if self.d.embedding_scale == 1.0 {
            return Ok(rows);
        }
        let g = &mut self.graph;
        g.scalar("embedding.factor", self.d.embedding_scale);
        g.node("Mul", &["embedding", "embedding.factor"], &["embedding.scaled"], vec![]);
        Ok("embedding.scaled".into())
    }

    /// `[batch, length, width]` as the matrix `[batch · length, width]`.
    fn rows(&mut self, from: &str, to: &str, width: usize) -> String {
        let shape = format!("rows.{width}");
        if self.shapes.insert(shape.clone()) {
            self.graph.ints(&shape, &[2], &[-1, width as i64]);
        }
        self.graph.node("Reshape", &[from, &shape], &[to], vec![]);
        to.into()
    }

    /// And back.
    fn turns(&mut self, from: &str, to: &str, width: usize) -> String {
        let shape = format!("turns.{width}");
        if self.shapes.insert(shape.clone()) {
            let fixed = format!("turns.{width}.width");
            self.graph.ints(&fixed, &[1], &[width as i64]);
            let axis = vec![Attribute::int("axis", 0)];
            self.graph.node("Concat", &["ids_shape", &fixed], &[&shape], axis);
        }
        self.graph.node("Reshape", &[from, &shape], &[to], vec![]);
        to.into()
    }

    /// One layer. `pending` is the branch not yet added to `stream`, so that
    /// the addition and the next norm are one operator.
    fn layer(
        &mut self,
        layer: usize,
        stream: String,
        pending: Option<String>,
    ) -> Result<(String, Option<String>), ExportError> {
        let block = |part: &str| format!("blk.{layer}.{part}.weight");
        let at = |part: &str| format!("layers.{layer}.{part}");
        let (mut stream, normed) = self.add_norm(&at("input_norm"), &block("attn_norm"), stream, pending)?;
        let mut branch = self.attention(layer, &normed)?;
        if layer + 1 == self.d.layers {
            // Only the last position goes on to the head.
            let turns = self.turns(&stream, &at("residual.turns"), self.d.hidden);
            let last = self.last_position(&turns, &at("residual.last"));
            stream = self.rows(&last, &at("residual.row"), self.d.hidden);
            branch = self.last_position(&branch, &at("attention.last"));
        }
        let branch = self.rows(&branch, &at("attention.rows"), self.d.heads * self.d.head_size);
        let out = at("o");
        self.linear(&out, &branch, &block("attn_output"))?;
        let mut branch = out;
        if self.d.post_norms {
            branch = self.norm(&at("post_attention_norm"), &block("post_attention_norm"), &branch)?;
        }
        let (stream, normed) = self.add_norm(&at("ffn_norm"), &block("ffn_norm"), stream, Some(branch))?;
        let mut branch = self.feed_forward(layer, &normed)?;
        if self.d.post_norms {
            branch = self.norm(&at("post_ffn_norm"), &block("post_ffw_norm"), &branch)?;
        }
        Ok((stream, Some(branch)))
    }

    fn attention(&mut self, layer: usize, normed: &str) -> Result<String, ExportError> {
        let block = |part: &str| format!("blk.{layer}.{part}.weight");
        let at = |part: &str| format!("layers.{layer}.{part}");
        let d = self.d;
        let (query, key, value) = match d.qk {
            Qk::Plain => {
                let qkv = at("qkv");
                self.packed_qkv(layer, &qkv, normed)?;
                let width = (d.heads + 2 * d.kv_heads) * d.head_size;
                (self.turns(&qkv, &at("qkv.turns"), width), String::new(), String::new())
            }
            Qk::Normed => {
                self.linear(&at("q"), normed, &block("attn_q"))?;
                self.linear(&at("k"), normed, &block("attn_k"))?;
                self.linear(&at("v"), normed, &block("attn_v"))?;
                let q = self.head_norm(&at("q"), &block("attn_q_norm"), d.heads)?;
                let k = self.head_norm(&at("k"), &block("attn_k_norm"), d.kv_heads)?;
                (q, k, self.turns(&at("v"), &at("v.turns"), d.kv_heads * d.head_size))
            }
        };
        let attention = d.attention(layer);
        let (cos, sin) = attention.caches();
        let mut attributes = vec![
            Attribute::int("num_heads", d.heads as i64),
            Attribute::int("kv_num_heads", d.kv_heads as i64),
            Attribute::float("scale", d.attention_scale),
            Attribute::int("do_rotary", 1),
            Attribute::int("rotary_interleaved", 0),
        ];
        if let Attention { window: Some(window), .. } = attention {
            attributes.push(Attribute::int("local_window_size", window as i64));
        }
        let out = at("attention");
        let [query, key, value] = [query, key, value].map(|from| self.cast(from, Element::Float16));
        self.graph.contrib(
            "GroupQueryAttention",
            &[
                &query,
                &key,
                &value,
                &format!("past_key_values.{layer}.key"),
                &format!("past_key_values.{layer}.value"),
                "seqlens_k",
                "total_sequence_length",
                cos,
                sin,
            ],
            &[&out, &format!("present.{layer}.key"), &format!("present.{layer}.value")],
            attributes,
        );
        Ok(self.cast(out, Element::Float))
    }

    fn feed_forward(&mut self, layer: usize, normed: &str) -> Result<String, ExportError> {
        let block = |part: &str| format!("blk.{layer}.{part}.weight");
        let at = |part: &str| format!("layers.{layer}.{part}");
        let (gate, up, act) = (at("gate"), at("up"), at("gate.act"));
        self.linear(&gate, normed, &block("ffn_gate"))?;
        self.linear(&up, normed, &block("ffn_up"))?;
        match self.d.activation {
            // x · sigmoid(x) is QuickGelu with alpha 1: one operator, not two.
            Activation::Silu => {
                let alpha = vec![Attribute::float("alpha", 1.0)];
                self.graph.contrib("QuickGelu", &[&gate], &[&act], alpha);
            }
            Activation::GeluTanh => self.graph.contrib("FastGelu", &[&gate], &[&act], vec![]),
        }
        let (gated, down) = (at("gated"), at("down"));
        self.graph.node("Mul", &[&act, &up], &[&gated], vec![]);
        self.linear(&down, &gated, &block("ffn_down"))?;
        Ok(down)
    }

    fn head(&mut self, stream: String, pending: Option<String>) -> Result<(), ExportError> {
        let (_, normed) = self.add_norm("final_norm", "output_norm.weight", stream, pending)?;
        let tied = !self.gguf.has("output.weight");
        let tensor = if tied { "token_embd.weight" } else { "output.weight" };
        self.head_linear("logits.row", &normed, tensor)?;
        self.graph.ints("logits.shape", &[3], &[-1, 1, self.d.vocabulary as i64]);
        self.graph.node("Reshape", &["logits.row", "logits.shape"], &["logits"], vec![]);
        Ok(())
    }

    fn last_position(&mut self, from: &str, to: &str) -> String {
        self.graph.node("Gather", &[from, "last"], &[to], vec![Attribute::int("axis", 1)]);
        to.into()
    }

    fn epsilon(&self) -> Attribute {
        Attribute::float("epsilon", self.d.epsilon)
    }

    /// (stream + pending, its norm).
    fn add_norm(
        &mut self,
        out: &str,
        tensor: &str,
        stream: String,
        pending: Option<String>,
    ) -> Result<(String, String), ExportError> {
        let Some(pending) = pending else {
            let normed = self.norm(out, tensor, &stream)?;
            return Ok((stream, normed));
        };
        self.graph.floats(tensor, &[self.d.hidden], &self.gguf.floats(tensor)?)?;
        let sum = format!("{out}.sum");
        let attributes = vec![self.epsilon()];
        self.graph.contrib(
            "SkipSimplifiedLayerNormalization",
            &[&stream, &pending, tensor],
            &[out, "", "", &sum],
            attributes,
        );
        Ok((sum, out.into()))
    }

    fn norm(&mut self, out: &str, tensor: &str, from: &str) -> Result<String, ExportError> {
        let gamma = self.gguf.floats(tensor)?;
        self.graph.floats(tensor, &[gamma.len()], &gamma)?;
        let attributes = vec![self.epsilon(), Attribute::int("axis", -1)];
        self.graph.node("SimplifiedLayerNormalization", &[from, tensor], &[out], attributes);
        Ok(out.into())
    }

    /// The norm of each head by itself.
    fn head_norm(&mut self, from: &str, tensor: &str, heads: usize) -> Result<String, ExportError> {
        let size = self.d.head_size;
        let split = format!("{from}.heads");
        let shape = format!("{from}.heads.shape");
        self.graph.ints(&shape, &[3], &[-1, heads as i64, size as i64]);
        self.graph.node("Reshape", &[from, &shape], &[&split], vec![]);
        let normed = self.norm(&format!("{from}.normed"), tensor, &split)?;
        Ok(self.turns(&normed, &format!("{from}.joined"), heads * size))
    }
}
