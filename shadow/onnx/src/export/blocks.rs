//! ggml's block formats and what their numbers mean (layouts: ggml's
//! `ggml-common.h`; the k-quants pack 256 weights under 6-bit scales).

use half::f16;

/// How a tensor's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Blocks {
    /// From the number in GGUF's tensor table (`enum ggml_type`).
    pub(crate) fn from_ggml(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Weights and bytes of one block.
    pub(crate) fn size(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes that so many weights take; none if they do not fill their blocks.
    pub(crate) fn byte_len(self, weights: usize) -> Option<usize> {
        let (per_block, bytes) = self.size();
        weights.is_multiple_of(per_block).then_some(weights / per_block * bytes)
    }

    /// Every weight as a float.
    pub(crate) fn to_floats(self, raw: &[u8]) -> Vec<f32> {
        let (weights, bytes) = self.size();
        let mut out = Vec::with_capacity(raw.len() / bytes * weights);
        for block in raw.chunks_exact(bytes) {
            self.block(&mut Cursor(block), &mut out);
        }
        out
    }

    /// The ladders that the weights stand on: one for each run of 32, where
    /// the format has one.
    pub(crate) fn ladders(self, raw: &[u8]) -> Option<Vec<Ladder>> {
        let levels = match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => 16,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => 32,
            _ => return None,
        };
        let (_, bytes) = self.size();
        let mut out = Vec::new();
        for block in raw.chunks_exact(bytes) {
            let mut b = Cursor(block);
            let step = b.half();
            let mut push = |step, bottom| out.push(Ladder { step, bottom, levels });
            match self {
                Self::Q4_0 => push(step, -8.0 * step),
                Self::Q5_0 => push(step, -16.0 * step),
                Self::Q4_1 | Self::Q5_1 => push(step, b.half()),
                _ => {
                    let minimum = b.half();
                    let packed = b.take();
                    for run in 0..8 {
                        let (scale, low) = k_scale(&packed, run);
                        push(step * scale, -(minimum * low));
                    }
                }
            }
        }
        Some(out)
    }

    fn block(self, b: &mut Cursor<'_>, out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.push(f32::from_le_bytes(b.take())),
            Self::F16 => out.push(b.half()),
            Self::Bf16 => out.push(half::bf16::from_le_bytes(b.take()).to_f32()),
            Self::Q4_0 => {
                let d = b.half();
                let q: [u8; 16] = b.take();
                out.extend(q.iter().map(|q| d * (f32::from(q & 15) - 8.0)));
                out.extend(q.iter().map(|q| d * (f32::from(q >> 4) - 8.0)));
            }
            Self::Q4_1 => {
                let (d, m) = (b.half(), b.half());
                let q: [u8; 16] = b.take();
                out.extend(q.iter().map(|q| d * f32::from(q & 15) + m));
                out.extend(q.iter().map(|q| d * f32::from(q >> 4) + m));
            }
            Self::Q5_0 | Self::Q5_1 => {
                let d = b.half();
                let m = if self == Self::Q5_1 { b.half() } else { -16.0 * d };
                let high = u32::from_le_bytes(b.take());
                let q: [u8; 16] = b.take();
                let five = |low: u8, bit: usize| low | (((high >> bit) & 1) << 4) as u8;
                let (first, second) = (
                    q.iter().enumerate().map(|(i, q)| five(q & 15, i)),
                    q.iter().enumerate().map(|(i, q)| five(q >> 4, i + 16)),
                );
                out.extend(first.chain(second).map(|q| d * f32::from(q) + m));
            }
            Self::Q8_0 => {
                let d = b.half();
                let q: [u8; 32] = b.take();
                out.extend(q.iter().map(|q| d * f32::from(q.cast_signed())));
            }
            Self::Q4K => k_block(b, out, false),
            Self::Q5K => k_block(b, out, true),
            Self::Q6K => q6k_block(b, out),
        }
    }
}

/// `bottom + step · q` for q below `levels`: what a run of 32 weights can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ladder {
    pub(crate) step: f32,
    pub(crate) bottom: f32,
    pub(crate) levels: u8,
}

/// A k-quant's 6-bit scale and minimum of one run of eight.
fn k_scale(packed: &[u8; 12], run: usize) -> (f32, f32) {
    let at = |i: usize| packed.get(i).copied().unwrap_or_default();
    let (scale, minimum) = if run < 4 {
        (at(run) & 63, at(run + 4) & 63)
    } else {
        ((at(run + 4) & 15) | ((at(run - 4) >> 6) << 4), (at(run + 4) >> 4) | ((at(run) >> 6) << 4))
    };
    (f32::from(scale), f32::from(minimum))
}

/// Q4_K and Q5_K: eight runs of 32 weights, each with a 6-bit scale and a
/// 6-bit minimum; Q5_K keeps the fifth bits apart.
fn k_block(b: &mut Cursor<'_>, out: &mut Vec<f32>, fifth: bool) {
    let (d, dmin) = (b.half(), b.half());
    let packed: [u8; 12] = b.take();
    let high: [u8; 32] = if fifth { b.take() } else { [0; 32] };
    let low: [u8; 128] = b.take();
    for run in 0..8_usize {
        let (scale, minimum) = k_scale(&packed, run);
        let (scale, minimum) = (d * scale, dmin * minimum);
        let nibbles = low.iter().skip(run / 2 * 32).take(32);
        out.extend(nibbles.zip(high).map(|(q, h)| {
            let nibble = if run % 2 == 0 { q & 15 } else { q >> 4 };
            let q = nibble | (((h >> run) & 1) << 4);
            scale * f32::from(q) - minimum
        }));
    }
}

/// Q6_K: low four bits, then high two, sixteen signed scales, one float.
fn q6k_block(b: &mut Cursor<'_>, out: &mut Vec<f32>) {
    let low: [u8; 128] = b.take();
    let high: [u8; 64] = b.take();
    let scales: [u8; 16] = b.take();
    let d = b.half();
    let get = |a: &[u8], i: usize| a.get(i).copied().unwrap_or_default();
    for i in 0..256_usize {
        let (part, lane, column) = (i / 128, i % 128 / 32, i % 32);
        let nibbles = get(&low, part * 64 + (lane % 2) * 32 + column);
        let nibble = if lane < 2 { nibbles & 15 } else { nibbles >> 4 };
        let bits = (get(&high, part * 32 + column) >> (2 * lane)) & 3;
        let q = f32::from(nibble | (bits << 4)) - 32.0;
        out.push(d * f32::from(get(&scales, i / 16).cast_signed()) * q);
    }
}

/// Takes fixed pieces off the front; zeros beyond the end, which whole blocks
/// never reach.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }

    fn half(&mut self) -> f32 {
        f16::from_le_bytes(self.take()).to_f32()
    }
}
