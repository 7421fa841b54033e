//! An adapter's weights as the graph takes them: 32 bits each, and one pair for
//! operators that compute several modules.
//!
//! Where one operator computes q, k and v from the same input, A is the three
//! side by side and B has each one's rows under its own columns, with zeros
//! beside: three products in one, at the price of zeros that exist only while
//! the adapter is current.

use std::ops::Range;

use half::slice::HalfFloatSliceExt as _;
use ort::memory::Allocator;
use ort::value::{DynTensor, DynValue, Shape, TensorElementType};

use super::{Adapter, Half, Piece};
use crate::runtime::RuntimeError;

/// Tensors to bind, with the names of their inputs.
pub(crate) struct Wide {
    pub(crate) tensors: Vec<(String, DynValue)>,
}

impl Adapter {
    pub(crate) fn widen(&self, allocator: &Allocator) -> Result<Wide, RuntimeError> {
        let mut tensors = Vec::with_capacity(2 * self.slots.list.len());
        let mut scratch = Vec::new();
        for (index, slot) in self.slots.list.iter().enumerate() {
            let pieces: Vec<&Piece> = self.pieces.iter().filter(|p| p.slot == index).collect();
            let rank: usize = pieces.iter().map(|p| p.rank).sum();
            if rank == 0 {
                continue;
            }
            let (mut a, mut b) =
                (tensor(allocator, slot.input, rank)?, tensor(allocator, rank, slot.output)?);
            let (_, a_out) = a.try_extract_tensor_mut::<f32>()?;
            let (_, b_out) = b.try_extract_tensor_mut::<f32>()?;
            b_out.fill(0.0);
            let mut from = 0;
            for piece in pieces {
                self.floats(&piece.a, &mut scratch);
                place(a_out, rank, from..from + piece.rank, 0, &scratch);
                self.floats(&piece.b, &mut scratch);
                scratch.iter_mut().for_each(|w| *w *= piece.scale);
                place(b_out, slot.output, piece.columns.clone(), from, &scratch);
                from += piece.rank;
            }
            tensors.push((slot.a.clone(), a.into_dyn()));
            tensors.push((slot.b.clone(), b.into_dyn()));
        }
        Ok(Wide { tensors })
    }

    fn floats(&self, range: &Range<usize>, out: &mut Vec<f32>) {
        out.clear();
        out.resize(range.len(), 0.0);
        match &self.weights {
            Half::F16(w) => w.get(range.clone()).unwrap_or_default().convert_to_f32_slice(out),
            Half::Bf16(w) => w.get(range.clone()).unwrap_or_default().convert_to_f32_slice(out),
        }
    }
}

fn tensor(allocator: &Allocator, rows: usize, columns: usize) -> Result<DynTensor, RuntimeError> {
    Ok(DynTensor::new(allocator, TensorElementType::Float32, Shape::new([rows as i64, columns as i64]))?)
}

/// Copies `from`, a matrix as wide as `columns`, into those columns of a matrix
/// of `width`, from row `row` on.
fn place(to: &mut [f32], width: usize, columns: Range<usize>, row: usize, from: &[f32]) {
    let rows = to.chunks_exact_mut(width).skip(row);
    for (to, from) in rows.zip(from.chunks_exact(columns.len().max(1))) {
        if let Some(to) = to.get_mut(columns.clone()) {
            to.copy_from_slice(from);
        }
    }
}
