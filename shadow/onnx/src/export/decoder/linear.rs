//! Linear layers and the embedding's table: packed, stored once, multiplied,
//! and a task's adapter added.
//!
//! Every layer but the head is `out = W·x + (x·A)·B`. `A` and `B` are ordinary
//! inputs of the graph whose defaults are empty (rank 0): a run that binds none
//! is the base, and pays two operators that do nothing. `Gemm` adds the base's
//! product as its third operand, so that multiplying and adding are one operator;
//! it wants matrices, which is why the stream is `[batch · length, width]`.

use super::Writer;
use crate::export::ExportError;
use crate::export::graph::{Axis, Extent, float_bytes};
use crate::export::pack::{self, BLOCK, Bits, Packed};
use crate::export::proto::{Attribute, Element};

/// Where a packed matrix lies in the data file.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bits: Bits,
    pub(super) data: Extent,
    pub(super) scales: Extent,
    pub(super) zeros: Option<(Extent, usize)>,
}

impl Writer<'_> {
    pub(super) fn packed_qkv(&mut self, layer: usize, out: &str, from: &str) -> Result<(), ExportError> {
        let mut all = Packed::default();
        let bits = self.weights.linear;
        let parts = [("attn_q", self.d.heads), ("attn_k", self.d.kv_heads), ("attn_v", 0)];
        for (part, heads) in parts {
            let tensor = format!("blk.{layer}.{part}.weight");
            let columns = self.columns(&tensor)?;
            let blocks = self.gguf.row(&tensor)?.blocks;
            let raw = self.gguf.raw(&tensor)?;
            let mut floats = blocks.to_floats(&raw);
            let mut ladders = blocks.ladders(&raw).unwrap_or_default();
            if heads > 0 && self.d.interleaved_rope {
                floats = unpermute(&floats, columns, heads);
                ladders = unpermute(&ladders, columns / BLOCK, heads);
            }
            all.append(pack::quantise(&floats, &ladders, columns, bits));
        }
        let stored = self.store(&all, bits)?;
        self.adapted(out, from, out, &stored);
        Ok(())
    }

    /// A layer that adapters may change.
    pub(super) fn linear(&mut self, out: &str, from: &str, tensor: &str) -> Result<(), ExportError> {
        let stored = self.stored(tensor, self.weights.linear)?;
        self.adapted(out, from, tensor, &stored);
        Ok(())
    }

    /// The head, which they may not.
    pub(super) fn head_linear(&mut self, out: &str, from: &str, tensor: &str) -> Result<(), ExportError> {
        let stored = self.stored(tensor, self.weights.head)?;
        self.matmul(out, from, tensor, &stored);
        Ok(())
    }

    /// The product, and `(from·A)·B` of whichever adapter is bound. Each rank is
    /// an axis of its own: an adapter need not reach every layer, and buffers
    /// are shared between values whose axes have one name.
    fn adapted(&mut self, out: &str, from: &str, name: &str, stored: &Stored) {
        let (a, b) = (format!("{out}.lora_A"), format!("{out}.lora_B"));
        let (rank, base, inner) = (format!("{out}.rank"), format!("{out}.base"), format!("{out}.inner"));
        self.matmul(&base, from, name, stored);
        let g = &mut self.graph;
        g.empty_input(&a, [Axis::Fixed(stored.columns), Axis::Named(&rank)]);
        g.empty_input(&b, [Axis::Named(&rank), Axis::Fixed(stored.rows)]);
        g.node("MatMul", &[from, &a], &[&inner], vec![]);
        g.node("Gemm", &[&inner, &b, &base], &[out], vec![]);
    }

    fn columns(&self, tensor: &str) -> Result<usize, ExportError> {
        match self.gguf.row(tensor)?.shape.last() {
            Some(columns) if columns.is_multiple_of(BLOCK) && *columns > 0 => Ok(*columns),
            _ => Err(ExportError::OddShape { tensor: tensor.into() }),
        }
    }

    pub(super) fn stored(&mut self, tensor: &str, bits: Bits) -> Result<Stored, ExportError> {
        if let Some(stored) = self.seen.get(tensor) {
            return Ok(stored.clone());
        }
        let columns = self.columns(tensor)?;
        let raw = self.gguf.raw(tensor)?;
        let blocks = self.gguf.row(tensor)?.blocks;
        let kept = if bits == Bits::Eight { pack::keep(blocks, &raw, columns) } else { None };
        let packed = kept.unwrap_or_else(|| {
            let ladders = blocks.ladders(&raw).unwrap_or_default();
            pack::quantise(&blocks.to_floats(&raw), &ladders, columns, bits)
        });
        let stored = self.store(&packed, bits)?;
        self.seen.insert(tensor.into(), stored.clone());
        Ok(stored)
    }

    fn store(&mut self, packed: &Packed, bits: Bits) -> Result<Stored, ExportError> {
        let zeros = if packed.zero_points.is_empty() {
            None
        } else {
            let width = packed.zero_points.len() / packed.rows.max(1);
            Some((self.graph.store(&packed.zero_points)?, width))
        };
        Ok(Stored {
            rows: packed.rows,
            columns: packed.columns,
            bits,
            data: self.graph.store(&packed.data)?,
            scales: self.graph.store(&float_bytes(&packed.scales))?,
            zeros,
        })
    }

    fn matmul(&mut self, out: &str, from: &str, name: &str, stored: &Stored) {
        let blocks = stored.columns / BLOCK;
        let bits = stored.bits.count();
        let (data, scales) = (format!("{name}.data"), format!("{name}.scales"));
        let zeros = format!("{name}.zeros");
        let g = &mut self.graph;
        g.initializer(&data, Element::Uint8, &[stored.rows, blocks, BLOCK * bits / 8], stored.data);
        g.initializer(&scales, Element::Float, &[stored.rows, blocks], stored.scales);
        let mut inputs = vec![from, &data, &scales];
        if let Some((extent, width)) = stored.zeros {
            g.initializer(&zeros, Element::Uint8, &[stored.rows, width], extent);
            inputs.push(&zeros);
        }
        let attributes = vec![
            Attribute::int("K", stored.columns as i64),
            Attribute::int("N", stored.rows as i64),
            Attribute::int("bits", bits as i64),
            Attribute::int("block_size", BLOCK as i64),
            Attribute::int("accuracy_level", self.weights.accuracy_level.into()),
        ];
        g.contrib("MatMulNBits", &inputs, &[out], attributes);
    }
}

/// llama.cpp turns the rows of a llama's query and key so that rotary pairs
/// lie side by side; this turns them back (first halves, then second halves),
/// as the checkpoint, its adapters and `rotary_interleaved = 0` have them.
pub(in crate::export) fn unpermute<T: Clone>(weights: &[T], columns: usize, heads: usize) -> Vec<T> {
    let rows = weights.len() / columns.max(1);
    let size = rows / heads.max(1);
    let mut out = Vec::with_capacity(weights.len());
    for row in 0..rows {
        let (head, within) = (row / size, row % size);
        let (half, pair) = (within / (size / 2), within % (size / 2));
        let from = head * size + 2 * pair + half;
        out.extend_from_slice(weights.get(from * columns..(from + 1) * columns).unwrap_or(&[]));
    }
    out
}
