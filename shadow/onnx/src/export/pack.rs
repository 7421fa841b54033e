//! Weights as `MatMulNBits` wants them: rows of blocks of 32 along the input,
//! each with a float scale and an integer zero point,
//! `weight = scale · (q − zero point)`.

use super::blocks::{Blocks, Ladder};

/// Weights a block.
pub(crate) const BLOCK: usize = 32;

/// Bits a weight keeps in the exported graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Half the memory of eight; a Q4_1 block's float minimum is rounded.
    Four,
    /// Every 4- and 5-bit step of the source met exactly, its minimum nearly.
    Eight,
}

impl Bits {
    /// 4 or 8.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A weight matrix `[rows, columns]` in `MatMulNBits` form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packed {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// `[rows, blocks, 32 · bits / 8]`, the lower nibble first.
    pub(crate) data: Vec<u8>,
    /// `[rows, blocks]`.
    pub(crate) scales: Vec<f32>,
    /// `[rows, ceil(blocks · bits / 8)]`; empty: every block's is the middle.
    pub(crate) zero_points: Vec<u8>,
}

impl Packed {
    /// Adds the rows of another matrix with as many columns below these.
    pub(crate) fn append(&mut self, below: Self) {
        self.rows += below.rows;
        self.columns = below.columns;
        self.data.extend(below.data);
        self.scales.extend(below.scales);
        self.zero_points.extend(below.zero_points);
    }
}

/// The blocks of a tensor that are already symmetric, kept as they are.
pub(crate) fn keep(blocks: Blocks, raw: &[u8], columns: usize) -> Option<Packed> {
    if blocks != Blocks::Q8_0 || columns == 0 || !columns.is_multiple_of(BLOCK) {
        return None;
    }
    let (_, bytes) = blocks.size();
    let mut packed = Packed { columns, ..Packed::default() };
    for block in raw.chunks_exact(bytes) {
        let (scale, q) = block.split_at(2);
        let scale: [u8; 2] = scale.try_into().ok()?;
        packed.scales.push(half::f16::from_le_bytes(scale).to_f32());
        packed.data.extend(q.iter().map(|q| q ^ 0x80));
    }
    packed.rows = packed.data.len() / columns;
    Some(packed)
}

/// Quantises rows of floats, each block over its own range, or, with eight
/// bits and known ladders, so that every step of the ladder is met exactly.
/// `columns` must be a multiple of 32.
pub(crate) fn quantise(weights: &[f32], ladders: &[Ladder], columns: usize, bits: Bits) -> Packed {
    let top = match bits {
        Bits::Four => 15.0_f32,
        Bits::Eight => 255.0,
    };
    let mut packed = Packed { columns, ..Packed::default() };
    if columns == 0 {
        return packed;
    }
    let mut ladders = ladders.iter();
    for row in weights.chunks_exact(columns) {
        packed.rows += 1;
        let mut zeros = Vec::new();
        for block in row.chunks(BLOCK) {
            let ladder = ladders.next();
            let (scale, zero) = match bits {
                Bits::Four => best_range(block, top),
                Bits::Eight => ladder.and_then(on_ladder).unwrap_or_else(|| range(block, top, 1.0)),
            };
            packed.scales.push(scale);
            zeros.push(zero as u8);
            let q = block.iter().map(|w| level(*w, scale, zero, top) as u8);
            push_bits(&mut packed.data, q, bits);
        }
        push_bits(&mut packed.zero_points, zeros.into_iter(), bits);
    }
    packed
}

/// A scale that divides the ladder's step by a whole number, chosen so that
/// its bottom falls next to a whole number of scales: what is left of the
/// rounding is the zero point's, and small.
fn on_ladder(ladder: &Ladder) -> Option<(f32, f32)> {
    let rungs = u16::from(ladder.levels) - 1;
    // Negative steps and ladders that stand above zero are rare: left to `range`.
    if ladder.step <= 0.0 || ladder.bottom > 0.0 {
        return None;
    }
    let most = 255 / rungs.max(1);
    (1..=most)
        .map(|parts| {
            let scale = ladder.step / f32::from(parts);
            let zero = (-ladder.bottom / scale).round();
            (scale, zero, (ladder.bottom + zero * scale).abs())
        })
        .filter(|(_, zero, _)| *zero <= 255.0)
        .min_by(|a, b| a.2.total_cmp(&b.2))
        .map(|(scale, zero, _)| (scale, zero))
}

/// Scale and zero point that cover the block, drawn in by `shrink`.
fn range(block: &[f32], top: f32, shrink: f32) -> (f32, f32) {
    let low = block.iter().fold(0.0_f32, |a, w| a.min(*w)) * shrink;
    let high = block.iter().fold(0.0_f32, |a, w| a.max(*w)) * shrink;
    let scale = (high - low) / top;
    if scale > 0.0 { (scale, (-low / scale).round().clamp(0.0, top)) } else { (1.0, 0.0) }
}

/// With four bits the range that cuts off the ends a little may err less:
/// the best of a small grid by squared error.
fn best_range(block: &[f32], top: f32) -> (f32, f32) {
    let error = |&(scale, zero): &(f32, f32)| -> f32 {
        let back = |w: &f32| (level(*w, scale, zero, top) - zero) * scale - w;
        block.iter().map(|w| back(w).powi(2)).sum()
    };
    (0..16)
        .map(|step| range(block, top, 1.0 - 0.02 * step as f32))
        .min_by(|a, b| error(a).total_cmp(&error(b)))
        .unwrap_or((1.0, 0.0))
}

fn level(weight: f32, scale: f32, zero: f32, top: f32) -> f32 {
    (weight / scale + zero).round().clamp(0.0, top)
}

fn push_bits(out: &mut Vec<u8>, mut q: impl Iterator<Item = u8>, bits: Bits) {
    match bits {
        Bits::Eight => out.extend(q),
        Bits::Four => {
            while let Some(low) = q.next() {
                out.push(low | (q.next().unwrap_or_default() << 4));
            }
        }
    }
}
