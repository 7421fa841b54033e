//! The model's graph and its key-value caches.
//!
//! Inputs are token ids and a mask (and positions where the graph has them), and
//! for each layer the past keys and values, of shape [1, heads, length, head
//! size]; outputs are logits and the present keys and values. Their names come
//! from `genai_config.json`.
//!
//! Where the graph's attention can share past and present (GroupQueryAttention;
//! the folder says so with `past_present_share_buffer`), a cache is a set of
//! buffers of fixed capacity that are bound both as past and as present: a step
//! writes its own rows and copies nothing, and forgetting a tail is a matter of
//! the mask. Otherwise the present of a step is the past of the next.
//!
//! A cache belongs to the adapter that computed it, or to the base: keys and
//! values of one mean nothing to another.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynTensor, DynValue, Tensor, ValueType};
use ort::value::{Shape, TensorElementType};

use super::current::Current;
use crate::adapter::{Adapter, Wide};
use crate::contract::Genai;
use crate::runtime::{ExecutionProvider, RuntimeError};

/// Rows are added to a cache in steps of this many tokens.
const STEP: usize = 512;

pub(crate) struct Graph {
    session: Session,
    names: Genai,
    layers: Vec<Layer>,
    shared: bool,
    allocator: Allocator,
    on_cpu: bool,
    logits_at: MemoryInfo<'static>,
    current: Current,
}

/// One past tensor (a layer has two) and the present it becomes.
struct Layer {
    past: String,
    present: String,
    heads: usize,
    head_size: usize,
    element: TensorElementType,
}

/// What a model remembers of a row of tokens.
pub(crate) struct Cache {
    /// The tokens whose keys and values are held.
    pub(crate) tokens: Vec<u32>,
    /// Whose: an adapter's id, or the base's.
    pub(super) adapter: Option<u64>,
    capacity: usize,
    past: Vec<DynValue>,
    binding: Option<IoBinding>,
}

impl Graph {
    pub(crate) fn new(
        session: Session,
        provider: ExecutionProvider,
        names: Genai,
        shared: bool,
    ) -> Result<Self, RuntimeError> {
        let mut layers = Vec::with_capacity(2 * names.layers);
        for n in 0..names.layers {
            let of = |pattern: &str| pattern.replacen("%d", &n.to_string(), 1);
            for (past, present) in
                [(&names.past_keys, &names.present_keys), (&names.past_values, &names.present_values)]
            {
                let past = of(past);
                let element = match session.inputs().iter().find(|i| i.name() == past).map(|i| i.dtype()) {
                    Some(ValueType::Tensor { ty, .. }) => *ty,
                    _ => return Err(RuntimeError::Onnx(format!("the graph has no input `{past}`"))),
                };
                let (heads, head_size) = (names.kv_heads, names.head_size);
                layers.push(Layer { past, present: of(present), heads, head_size, element });
            }
        }
        for needed in [&names.input_ids, &names.attention_mask].into_iter().chain(&names.position_ids) {
            if !session.inputs().iter().any(|i| i.name() == needed) {
                return Err(RuntimeError::Onnx(format!("the graph has no input `{needed}`")));
            }
        }
        for needed in layers.iter().map(|l| &l.present).chain([&names.logits]) {
            if !session.outputs().iter().any(|o| o.name() == needed) {
                return Err(RuntimeError::Onnx(format!("the graph has no output `{needed}`")));
            }
        }
        let on_cpu = provider == ExecutionProvider::Cpu;
        let allocator = if on_cpu {
            Allocator::default()
        } else {
            let info =
                MemoryInfo::new(AllocationDevice::CUDA, 0, AllocatorType::Device, MemoryType::Default)?;
            Allocator::new(&session, info)?
        };
        let logits_at =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        Ok(Self { session, names, layers, shared, allocator, on_cpu, logits_at, current: Current::default() })
    }

    pub(crate) fn empty(&self) -> Cache {
        Cache { tokens: Vec::new(), adapter: None, capacity: 0, past: Vec::new(), binding: None }
    }

    /// Hands a cache to an adapter, or to the base; it forgets what another knew.
    pub(crate) fn hand(&self, cache: &mut Cache, adapter: Option<u64>) -> Result<(), RuntimeError> {
        if cache.adapter != adapter {
            self.truncate(cache, 0)?;
            cache.adapter = adapter;
            cache.binding = None;
        }
        Ok(())
    }

    /// Lets go of the adapter's tensors; the cache keeps what it knows.
    pub(crate) fn rest(&self, cache: &mut Cache) {
        if cache.adapter.is_some() {
            cache.binding = None;
        }
    }

    /// Binds a cache's buffers, and the tensors of the adapter that uses it.
    fn bind(&self, cache: &mut Cache, wide: Option<&Wide>) -> Result<(), RuntimeError> {
        let mut binding = self.session.create_binding()?;
        for (layer, tensor) in self.layers.iter().zip(&mut cache.past) {
            binding.bind_input(&layer.past, tensor)?;
            binding.bind_output(&layer.present, tensor)?;
        }
        for (name, tensor) in wide.into_iter().flat_map(|w| &w.tensors) {
            binding.bind_input(name.as_str(), tensor)?;
        }
        cache.binding = Some(binding);
        Ok(())
    }

    /// Makes room for `wanted` tokens. On the CPU those that are held stay; elsewhere
    /// the cache forgets them when it grows, so what is left to feed is to be
    /// counted afterwards.
    pub(crate) fn reserve(&self, cache: &mut Cache, wanted: usize) -> Result<(), RuntimeError> {
        if !self.shared || wanted <= cache.capacity {
            return Ok(());
        }
        let capacity = wanted.div_ceil(STEP).saturating_mul(STEP).min(self.names.context_length.max(wanted));
        let mut past = Vec::with_capacity(self.layers.len());
        let kept = if self.on_cpu { cache.tokens.len() } else { 0 };
        for (i, layer) in self.layers.iter().enumerate() {
            let mut tensor = DynTensor::new(&self.allocator, layer.element, layer.shape(capacity))?;
            if kept > 0
                && let Some(old) = cache.past.get(i)
            {
                layer.copy_rows(old, &mut tensor, cache.capacity, capacity, kept)?;
            }
            past.push(tensor.into_dyn());
        }
        cache.tokens.truncate(kept);
        cache.capacity = capacity;
        cache.past = past;
        cache.binding = None;
        Ok(())
    }

    /// Forgets all but the first `len` tokens.
    pub(crate) fn truncate(&self, cache: &mut Cache, len: usize) -> Result<(), RuntimeError> {
        if len >= cache.tokens.len() {
            return Ok(());
        }
        if !self.shared {
            if len == 0 || !self.on_cpu {
                *cache = Cache { adapter: cache.adapter, ..self.empty() };
                return Ok(());
            }
            let held = cache.tokens.len();
            let mut past = Vec::with_capacity(self.layers.len());
            for (layer, old) in self.layers.iter().zip(&cache.past) {
                let mut tensor = DynTensor::new(&self.allocator, layer.element, layer.shape(len))?;
                layer.copy_rows(old, &mut tensor, held, len, len)?;
                past.push(tensor.into_dyn());
            }
            cache.past = past;
        }
        cache.tokens.truncate(len);
        Ok(())
    }

    /// As for graphs that cannot share past and present.
    #[cfg(test)]
    pub(crate) fn pass_presents(&mut self) {
        self.shared = false;
    }

    /// As where the cache is in a GPU's memory.
    #[cfg(test)]
    pub(crate) fn forget_when_growing(&mut self) {
        self.on_cpu = false;
    }

    /// Gives the input of token ids this name, and the old one back: runs fail
    /// under a name that the graph does not have.
    #[cfg(test)]
    pub(crate) fn name_ids(&mut self, name: &str) -> String {
        std::mem::replace(&mut self.names.input_ids, name.to_owned())
    }

    /// Feeds tokens under an adapter, which must be the cache's; with `logits`,
    /// writes the last one's row there. Room for them must be there
    /// ([`Graph::reserve`]): a cache that grew only here could forget what the
    /// tokens go on from.
    pub(crate) fn feed(
        &mut self,
        cache: &mut Cache,
        adapter: Option<&Adapter>,
        tokens: &[u32],
        logits: Option<&mut Vec<f32>>,
    ) -> Result<(), RuntimeError> {
        let before = cache.tokens.len();
        let after = before + tokens.len();
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let ids = Tensor::from_array(([1, tokens.len()], ids))?;
        let mask = Tensor::from_array(([1, after], vec![1i64; after]))?;
        let positions = match &self.names.position_ids {
            Some(name) => {
                let all: Vec<i64> = (before as i64..after as i64).collect();
                Some((name, Tensor::from_array(([1, tokens.len()], all))?))
            }
            None => None,
        };
        if self.shared {
            if after > cache.capacity {
                return Err(RuntimeError::Onnx(format!("no room for {after} tokens in {}", cache.capacity)));
            }
            if cache.binding.is_none() {
                let wide = adapter.map(|a| self.current.of(a)).transpose()?;
                self.bind(cache, wide.as_deref())?;
            }
            let Some(binding) = cache.binding.as_mut() else {
                return Err(RuntimeError::Onnx("a cache without buffers".to_owned()));
            };
            binding.bind_input(&self.names.input_ids, &ids)?;
            binding.bind_input(&self.names.attention_mask, &mask)?;
            if let Some((name, p)) = &positions {
                binding.bind_input(name.as_str(), p)?;
            }
            // Bound anew each time: the shape follows the number of tokens.
            binding.bind_output_to_device(&self.names.logits, &self.logits_at)?;
            let outputs = self.session.run_binding(binding)?;
            if let (Some(row), Some(value)) = (logits, outputs.get(&self.names.logits)) {
                last_row(value, row)?;
            }
        } else {
            let mut inputs: Vec<(String, SessionInputValue<'_>)> = vec![
                (self.names.input_ids.clone(), ids.into()),
                (self.names.attention_mask.clone(), mask.into()),
            ];
            if let Some((name, p)) = positions {
                inputs.push((name.clone(), p.into()));
            }
            let wide = adapter.map(|a| self.current.of(a)).transpose()?;
            for (name, tensor) in wide.iter().flat_map(|w| &w.tensors) {
                inputs.push((name.clone(), tensor.into()));
            }
            // The run takes the past with it: if it fails, nothing is held any more.
            let held = std::mem::take(&mut cache.tokens);
            let mut past = std::mem::take(&mut cache.past).into_iter();
            for layer in &self.layers {
                let value = match past.next() {
                    Some(v) => v,
                    None => DynTensor::new(&self.allocator, layer.element, layer.shape(0))?.into_dyn(),
                };
                inputs.push((layer.past.clone(), value.into()));
            }
            let mut outputs = self.session.run(inputs)?;
            if let (Some(row), Some(value)) = (logits, outputs.get(&self.names.logits)) {
                last_row(value, row)?;
            }
            cache.past = self.layers.iter().filter_map(|l| outputs.remove(&l.present)).collect();
            cache.tokens = held;
        }
        cache.tokens.extend_from_slice(tokens);
        Ok(())
    }
}

impl Layer {
    fn shape(&self, rows: usize) -> Shape {
        Shape::new([1, self.heads as i64, rows as i64, self.head_size as i64])
    }

    /// Copies the first `rows` rows of every head.
    fn copy_rows(
        &self,
        from: &DynValue,
        to: &mut DynTensor,
        from_capacity: usize,
        to_capacity: usize,
        rows: usize,
    ) -> Result<(), RuntimeError> {
        match self.element {
            TensorElementType::Float32 => self.copy_typed::<f32>(from, to, from_capacity, to_capacity, rows),
            TensorElementType::Float16 => {
                self.copy_typed::<half::f16>(from, to, from_capacity, to_capacity, rows)
            }
            other => Err(RuntimeError::Onnx(format!("key-value cache of {other} is not supported"))),
        }
    }

    fn copy_typed<T: ort::value::PrimitiveTensorElementType + Copy>(
        &self,
        from: &DynValue,
        to: &mut DynTensor,
        from_capacity: usize,
        to_capacity: usize,
        rows: usize,
    ) -> Result<(), RuntimeError> {
        let (_, source) = from.try_extract_tensor::<T>()?;
        let (_, target) = to.try_extract_tensor_mut::<T>()?;
        let width = self.head_size;
        let heads = source.chunks(from_capacity * width).zip(target.chunks_mut(to_capacity * width));
        for (s, t) in heads {
            if let (Some(s), Some(t)) = (s.get(..rows * width), t.get_mut(..rows * width)) {
                t.copy_from_slice(s);
            }
        }
        Ok(())
    }
}

fn last_row(logits: &DynValue, row: &mut Vec<f32>) -> Result<(), RuntimeError> {
    row.clear();
    let width = |shape: &Shape| shape.last().and_then(|d| usize::try_from(*d).ok()).unwrap_or(0);
    if let Ok((shape, all)) = logits.try_extract_tensor::<f32>() {
        row.extend_from_slice(all.get(all.len().saturating_sub(width(shape))..).unwrap_or_default());
    } else {
        let (shape, all) = logits.try_extract_tensor::<half::f16>()?;
        let last = all.get(all.len().saturating_sub(width(shape))..).unwrap_or_default();
        row.extend(last.iter().map(|h| h.to_f32()));
    }
    Ok(())
}
