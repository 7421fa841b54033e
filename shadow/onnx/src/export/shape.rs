//! What a GGUF header says of a decoder's shape.

use super::ExportError;
use super::gguf::Gguf;

/// The architectures that the exporter knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Gemma3,
}

impl Architecture {
    /// `model.type` in `genai_config.json`.
    pub(crate) fn genai_name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gemma3 => "gemma3_text",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    GeluTanh,
}

/// Whether each head's query and key are normed before rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qk {
    Plain,
    Normed,
}

/// How a layer attends: everywhere, or over a window with its own rope base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attention {
    pub(crate) window: Option<usize>,
    pub(crate) rope_base: f32,
}

impl Attention {
    /// Names of its cosine and sine tables.
    pub(crate) fn caches(self) -> (&'static str, &'static str) {
        match self.window {
            None => ("cos_cache", "sin_cache"),
            Some(_) => ("cos_cache_local", "sin_cache_local"),
        }
    }
}

/// A decoder's sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoder {
    pub(crate) architecture: Architecture,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
    pub(crate) qk: Qk,
    pub(crate) post_norms: bool,
    pub(crate) interleaved_rope: bool,
    pub(crate) embedding_scale: f32,
    pub(crate) attention_scale: f32,
    global: Attention,
    /// With the number of layers after which a global one comes.
    local: Option<(Attention, usize)>,
}

/// Gemma 3 attends over its window in five layers of six, with this rope base
/// (Gemma 3 Technical Report, arXiv 2503.19786, section 2).
const GEMMA_LOCAL_ROPE: f32 = 10_000.0;
const GEMMA_PATTERN: usize = 6;
/// Rotary tables are floats in the file: no longer than a small machine serves.
const LONGEST_CONTEXT: usize = 32_768;

impl Decoder {
    pub(crate) fn of(gguf: &Gguf) -> Result<Self, ExportError> {
        let name = gguf.text("general.architecture")?;
        let architecture = match name {
            "llama" => Architecture::Llama,
            "gemma3" => Architecture::Gemma3,
            other => return Err(ExportError::UnknownArchitecture(other.into())),
        };
        let key = |k: &str| format!("{name}.{k}");
        let hidden = gguf.size(&key("embedding_length"))?;
        let heads = gguf.size(&key("attention.head_count"))?;
        let kv_heads = gguf.size(&key("attention.head_count_kv")).unwrap_or(heads);
        let head_size = gguf
            .size(&key("attention.key_length"))
            .unwrap_or_else(|_| hidden.checked_div(heads).unwrap_or_default());
        let vocabulary = gguf.row("token_embd.weight")?.shape.first().copied().unwrap_or(0);
        if [hidden, heads, kv_heads, head_size, vocabulary].contains(&0) {
            return Err(ExportError::OddShape { tensor: "token_embd.weight".into() });
        }
        let rope_base = gguf.float(&key("rope.freq_base")).unwrap_or(10_000.0);
        let gemma = architecture == Architecture::Gemma3;
        let window = gguf.size(&key("attention.sliding_window")).ok().filter(|_| gemma);
        let local = window.map(|w| Attention { window: Some(w), rope_base: GEMMA_LOCAL_ROPE });
        Ok(Self {
            architecture,
            layers: gguf.size(&key("block_count"))?,
            hidden,
            heads,
            kv_heads,
            head_size,
            vocabulary,
            context: gguf.size(&key("context_length"))?.min(LONGEST_CONTEXT),
            epsilon: gguf.float(&key("attention.layer_norm_rms_epsilon"))?,
            activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
            qk: if gemma { Qk::Normed } else { Qk::Plain },
            post_norms: gemma,
            interleaved_rope: !gemma,
            embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
            attention_scale: 1.0 / (head_size as f32).sqrt(),
            global: Attention { window: None, rope_base },
            local: local.map(|attention| (attention, GEMMA_PATTERN)),
        })
    }

    /// How this layer attends.
    pub(crate) fn attention(&self, layer: usize) -> Attention {
        match self.local {
            Some((local, pattern)) if !(layer + 1).is_multiple_of(pattern) => local,
            _ => self.global,
        }
    }

    /// Every kind of attention there is.
    pub(crate) fn attentions(&self) -> impl Iterator<Item = Attention> {
        std::iter::once(self.global).chain(self.local.map(|(local, _)| local))
    }
}
