//! Where a model's graph takes adapters.

use ort::session::Session;
use ort::value::ValueType;

use crate::contract::{Genai, Manifest};
use crate::markers::Added;

/// A model as an adapter sees it: which base it is, and the inputs of its graph.
#[derive(Clone, PartialEq, Eq)]
pub struct AdapterSlots {
    pub(super) model: String,
    /// SHA-256 in hex of the GGUF file that the model was made of.
    pub(super) base: String,
    pub(super) bos: String,
    pub(super) eos: String,
    pub(super) added: Added,
    pub(super) list: Vec<Slot>,
}

/// One linear operator of the graph: `W·x + (x·A)·B`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) layer: usize,
    /// Names of the inputs, of shape `[input, rank]` and `[rank, output]`.
    pub(super) a: String,
    pub(super) b: String,
    pub(super) input: usize,
    pub(super) output: usize,
    /// What it computes, side by side: `q_proj`, `k_proj` and `v_proj` where
    /// these are one operator.
    pub(super) modules: Vec<Module>,
}

/// A linear layer by its name in the checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: &'static str,
    pub(super) rows: usize,
}

/// The exporter's name of an operator, and the modules that it computes.
const OPERATORS: [(&str, &[&str]); 8] = [
    ("qkv", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    ("q", &["self_attn.q_proj"]),
    ("k", &["self_attn.k_proj"]),
    ("v", &["self_attn.v_proj"]),
    ("o", &["self_attn.o_proj"]),
    ("gate", &["mlp.gate_proj"]),
    ("up", &["mlp.up_proj"]),
    ("down", &["mlp.down_proj"]),
];

impl AdapterSlots {
    /// `None` for a graph without such inputs.
    pub(crate) fn of(
        session: &Session,
        names: &Genai,
        manifest: &Manifest,
        bos: &str,
        eos: &str,
        added: Added,
    ) -> Option<Self> {
        let inputs = session.overridable_initializers();
        let shape = |name: &str| match inputs.iter().find(|i| i.name() == name)?.dtype() {
            ValueType::Tensor { shape, .. } => match shape.as_ref() {
                [rows, columns] => Some((*rows, *columns)),
                _ => None,
            },
            _ => None,
        };
        let mut list = Vec::new();
        for layer in 0..names.layers {
            for (operator, modules) in OPERATORS {
                let (a, b) = (
                    format!("layers.{layer}.{operator}.lora_A"),
                    format!("layers.{layer}.{operator}.lora_B"),
                );
                let (Some((input, _)), Some((_, output))) = (shape(&a), shape(&b)) else { continue };
                let (Ok(input), Ok(output)) = (usize::try_from(input), usize::try_from(output)) else {
                    continue;
                };
                let shared = names.kv_heads * names.head_size;
                let rows = |i: usize| match (modules.len(), i) {
                    (1, _) => output,
                    (_, 0) => output.saturating_sub(2 * shared),
                    _ => shared,
                };
                let modules =
                    modules.iter().enumerate().map(|(i, name)| Module { name, rows: rows(i) }).collect();
                list.push(Slot { layer, a, b, input, output, modules });
            }
        }
        if list.is_empty() {
            return None;
        }
        let (model, base) = (manifest.name.clone(), manifest.source.sha256.clone());
        Some(Self { model, base, bos: bos.to_owned(), eos: eos.to_owned(), added, list })
    }

    /// The slot of a module in a layer, and the columns of its output that are
    /// the module's.
    pub(super) fn find(&self, layer: usize, module: &str) -> Option<(usize, &Slot, std::ops::Range<usize>)> {
        self.list.iter().enumerate().filter(|(_, s)| s.layer == layer).find_map(|(index, slot)| {
            let mut from = 0;
            for m in &slot.modules {
                if m.name == module {
                    return Some((index, slot, from..from + m.rows));
                }
                from += m.rows;
            }
            None
        })
    }

    pub(super) fn layers(&self) -> usize {
        self.list.iter().map(|s| s.layer + 1).max().unwrap_or(0)
    }
}

impl std::fmt::Debug for AdapterSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdapterSlots")
            .field("model", &self.model)
            .field("base", &self.base)
            .field("slots", &self.list.len())
            .finish_non_exhaustive()
    }
}
