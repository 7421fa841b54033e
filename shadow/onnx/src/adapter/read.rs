//! `adapter_model.safetensors` into memory, turned to the graph's shapes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use sha2::{Digest as _, Sha256};

use super::config::{Card, Config, WEIGHTS, bytes};
use super::slots::Slot;
use super::{AdapterError, AdapterSlots, Half, Piece};

/// A LoRA for a small model is a few megabytes; a file beyond this is something
/// else, and is not read into memory.
const MOST_BYTES: u64 = 512 << 20;

/// What was read.
pub(super) struct Read {
    pub(super) sha256: String,
    pub(super) weights: Half,
    pub(super) pieces: Vec<Piece>,
}

pub(super) fn weights(
    folder: &Path,
    config: &Config,
    card: &Card,
    slots: &AdapterSlots,
) -> Result<Read, AdapterError> {
    let path = folder.join(WEIGHTS);
    if let Ok(meta) = path.metadata()
        && meta.len() > MOST_BYTES
    {
        return Err(AdapterError::Unsupported { path, what: format!("{} bytes of weights", meta.len()) });
    }
    let bytes = bytes(&path)?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    card.check(&path, &sha256)?;
    let damaged = |e: SafeTensorError| AdapterError::Damaged { path: path.clone(), why: e.to_string() };
    let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut file = File { path: path.clone(), tensors, rank: config.rank };
    let modules = file.modules(config, slots)?;
    let dtype = file.dtype()?;
    let mut pieces = Vec::new();
    let mut packed = Packed::new(dtype);
    for layer in 0..slots.layers() {
        for &module in &modules {
            let Some((slot, shape, columns)) = slots.find(layer, module) else {
                return Err(AdapterError::UnknownTarget { path, target: tensor_name(layer, module, "A") });
            };
            let a = file.turned(&mut packed, layer, module, "A", shape, &columns)?;
            let b = file.turned(&mut packed, layer, module, "B", shape, &columns)?;
            pieces.push(Piece { slot, columns, rank: config.rank, scale: config.scale, a, b });
        }
    }
    Ok(Read { sha256, weights: packed.weights, pieces })
}

struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    rank: usize,
}

/// The folder's prefix that PEFT puts before a checkpoint's own names.
const PREFIX: &str = "base_model.model.model.layers.";

fn tensor_name(layer: usize, module: &str, half: &str) -> String {
    format!("{PREFIX}{layer}.{module}.lora_{half}.weight")
}

impl File<'_> {
    /// The modules that the file changes, every one of them known to the graph
    /// and every one that the configuration names among them.
    fn modules(&mut self, config: &Config, slots: &AdapterSlots) -> Result<Vec<&'static str>, AdapterError> {
        let known: BTreeSet<&'static str> =
            slots.list.iter().flat_map(|s| s.modules.iter().map(|m| m.name)).collect();
        let unknown = |path: &Path, target: &str| AdapterError::UnknownTarget {
            path: path.into(),
            target: target.to_owned(),
        };
        let mut found = BTreeSet::new();
        for name in self.tensors.names() {
            let module = parse(name).filter(|(layer, _)| *layer < slots.layers());
            match module.and_then(|(_, module)| known.get(module)) {
                Some(module) => found.insert(*module),
                None => return Err(unknown(&self.path, name)),
            };
        }
        for target in &config.targets {
            let Some(module) = known.iter().find(|m| m.rsplit('.').next() == target.rsplit('.').next())
            else {
                return Err(unknown(&config.path, target));
            };
            found.insert(module);
        }
        if found.is_empty() {
            let path = self.path.clone();
            return Err(AdapterError::Damaged { path, why: "it holds no tensor".to_owned() });
        }
        Ok(found.into_iter().collect())
    }

    /// The one type of all tensors, or the widest of them.
    fn dtype(&self) -> Result<Dtype, AdapterError> {
        let mut one = None;
        for (name, view) in self.tensors.iter() {
            one = match (one, view.dtype()) {
                (_, other) if !matches!(other, Dtype::F16 | Dtype::BF16 | Dtype::F32) => {
                    let what = format!("{name} in {other:?}");
                    return Err(AdapterError::Unsupported { path: self.path.clone(), what });
                }
                (None, dtype) => Some(dtype),
                (Some(one), dtype) if one == dtype => Some(one),
                // Mixed: everything as f16, which holds any bfloat16 that training leaves.
                _ => Some(Dtype::F32),
            };
        }
        Ok(one.unwrap_or(Dtype::F16))
    }

    /// Appends one tensor, turned: PEFT keeps `[rank, input]` and
    /// `[output, rank]`, the graph multiplies by `[input, rank]` and
    /// `[rank, output]`. Rows stay where the checkpoint has them: llama.cpp's
    /// turning of query and key was undone when the base was exported.
    fn turned(
        &self,
        packed: &mut Packed,
        layer: usize,
        module: &str,
        half: &str,
        slot: &Slot,
        columns: &Range<usize>,
    ) -> Result<Range<usize>, AdapterError> {
        let tensor = tensor_name(layer, module, half);
        let Ok(view) = self.tensors.tensor(&tensor) else {
            return Err(AdapterError::MissingTensor { path: self.path.clone(), tensor });
        };
        let expected = if half == "A" { vec![self.rank, slot.input] } else { vec![columns.len(), self.rank] };
        if view.shape() != expected {
            let found = view.shape().to_vec();
            return Err(AdapterError::WrongShape { path: self.path.clone(), tensor, found, expected });
        }
        packed.append(&view).ok_or_else(|| AdapterError::NotANumber { path: self.path.clone(), tensor })
    }
}

/// Layer and module of a tensor's name.
fn parse(name: &str) -> Option<(usize, &str)> {
    let (layer, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
    let module = rest.strip_suffix(".lora_A.weight").or_else(|| rest.strip_suffix(".lora_B.weight"))?;
    Some((layer.parse().ok()?, module))
}

/// All weights, one after the other.
struct Packed {
    weights: Half,
}

impl Packed {
    fn new(dtype: Dtype) -> Self {
        let weights = if dtype == Dtype::BF16 { Half::Bf16(Vec::new()) } else { Half::F16(Vec::new()) };
        Self { weights }
    }

    /// Appends the transpose; `None` when a value is not finite in 16 bits.
    fn append(&mut self, view: &TensorView<'_>) -> Option<Range<usize>> {
        let width = view.shape().last().copied().unwrap_or(0);
        let data = view.data();
        match (&mut self.weights, view.dtype()) {
            (Half::Bf16(out), _) => {
                let rows: Vec<bf16> = values(data, bf16::from_le_bytes);
                append(out, &rows, width, |w| w.is_finite())
            }
            (Half::F16(out), Dtype::F16) => {
                let rows: Vec<f16> = values(data, f16::from_le_bytes);
                append(out, &rows, width, |w| w.is_finite())
            }
            (Half::F16(out), Dtype::BF16) => {
                let rows: Vec<f16> = values(data, |b| f16::from_f32(bf16::from_le_bytes(b).to_f32()));
                append(out, &rows, width, |w| w.is_finite())
            }
            (Half::F16(out), _) => {
                let rows: Vec<f16> = values(data, |b| f16::from_f32(f32::from_le_bytes(b)));
                append(out, &rows, width, |w| w.is_finite())
            }
        }
    }
}

fn values<const N: usize, T>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.chunks_exact(N).filter_map(|b| b.try_into().ok().map(&of)).collect()
}

fn append<T: Copy>(
    out: &mut Vec<T>,
    rows: &[T],
    width: usize,
    finite: impl Fn(T) -> bool,
) -> Option<Range<usize>> {
    let from = out.len();
    if !rows.iter().all(|w| finite(*w)) {
        return None;
    }
    for column in 0..width {
        out.extend(rows.iter().skip(column).step_by(width));
    }
    Some(from..out.len())
}
