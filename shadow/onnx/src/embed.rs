//! Sentence embeddings: the last hidden states made one vector as the folder's
//! `[embedding]` says. Without that section: their mean over the mask, of unit
//! length (the recipe of the MiniLM sentence transformers).

use ort::session::Session;
use ort::value::Tensor;
use tokenizers::{Tokenizer, TruncationParams};

use crate::contract::{ModelFolder, Pooling};
use crate::runtime::{self, ExecutionProvider, LoadOptions, RuntimeError};

/// Tokens of a text that are read where the folder does not say; all-MiniLM-L6-v2 was
/// trained with 256.
const MAX_TOKENS: u32 = 256;

/// Tokens computed at once, padding included.
const BATCH_TOKENS: usize = 2048;

/// An embedding model, loaded.
pub struct SentenceEmbedder {
    session: Session,
    tokenizer: Tokenizer,
    provider: ExecutionProvider,
    token_types: bool,
    pooling: Pooling,
    normalise: bool,
}

impl std::fmt::Debug for SentenceEmbedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentenceEmbedder").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl SentenceEmbedder {
    /// Loads the model of a folder.
    ///
    /// # Errors
    /// [`RuntimeError`], naming the file and the remedy.
    pub fn load(folder: &ModelFolder, opts: &LoadOptions) -> Result<Self, RuntimeError> {
        let wrong = |problem: String| RuntimeError::Folder { folder: folder.path().to_path_buf(), problem };
        let mut tokenizer = Tokenizer::from_file(folder.tokenizer_file())
            .map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        let (pooling, normalise, max_tokens) = folder
            .manifest()
            .embedding
            .as_ref()
            .map_or((Pooling::Mean, true, MAX_TOKENS), |e| (e.pooling, e.normalise, e.tokens_read()));
        let max_length =
            usize::try_from(max_tokens).map_err(|e| wrong(format!("embedding.max_tokens: {e}")))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        let (session, provider) = runtime::open(&folder.model_file(), opts)?;
        let token_types = session.inputs().iter().any(|i| i.name() == "token_type_ids");
        if !session.outputs().iter().any(|o| o.name() == "last_hidden_state") {
            return Err(wrong("model.onnx has no output `last_hidden_state`".to_owned()));
        }
        Ok(Self { session, tokenizer, provider, token_types, pooling, normalise })
    }

    /// The execution provider that was got.
    #[must_use]
    pub fn execution_provider(&self) -> &'static str {
        self.provider.label()
    }

    /// Tokens of a text, as far as it is read.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer.encode_fast(text, true).map_or(0, |e| e.len())
    }

    /// One vector a text, in order, of unit length unless the folder says otherwise. Texts of like length are
    /// computed together.
    ///
    /// # Errors
    /// When the tokenizer or ONNX Runtime fails.
    pub fn embed(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, RuntimeError> {
        let mut rows = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let encoded = self
                .tokenizer
                .encode_fast(text.as_str(), true)
                .map_err(|e| RuntimeError::Onnx(format!("tokenizer: {e}")))?;
            rows.push((at, encoded.get_ids().iter().map(|&id| i64::from(id)).collect::<Vec<_>>()));
        }
        rows.sort_by_key(|r| r.1.len());
        let mut out = vec![Vec::new(); texts.len()];
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            // Rows come by length, so the last of a batch is its longest.
            let fits =
                rest.iter().enumerate().take_while(|(n, r)| (n + 1) * r.1.len() <= BATCH_TOKENS).count();
            let (batch, later) = rest.split_at(fits.max(1).min(rest.len()));
            for ((at, _), vector) in batch.iter().zip(self.batch(batch)?) {
                if let Some(place) = out.get_mut(*at) {
                    *place = vector;
                }
            }
            rest = later;
        }
        Ok(out)
    }

    fn batch(&mut self, rows: &[(usize, Vec<i64>)]) -> Result<Vec<Vec<f32>>, RuntimeError> {
        let width = rows.iter().map(|r| r.1.len()).max().unwrap_or(0).max(1);
        let mut ids = Vec::with_capacity(rows.len() * width);
        let mut mask = Vec::with_capacity(rows.len() * width);
        for (_, row) in rows {
            ids.extend_from_slice(row);
            ids.resize(ids.len() + width - row.len(), 0);
            mask.resize(mask.len() + row.len(), 1i64);
            mask.resize(ids.len(), 0);
        }
        let shape = [rows.len(), width];
        let types = vec![0i64; ids.len()];
        let mut inputs = ort::inputs![
            "input_ids" => Tensor::from_array((shape, ids))?,
            "attention_mask" => Tensor::from_array((shape, mask))?,
        ];
        if self.token_types {
            inputs.push(("token_type_ids".into(), Tensor::from_array((shape, types))?.into()));
        }
        let (pooling, normalise) = (self.pooling, self.normalise);
        let outputs = self.session.run(inputs)?;
        let states = outputs
            .get("last_hidden_state")
            .ok_or_else(|| RuntimeError::Onnx("no last_hidden_state".to_owned()))?;
        let (dims, states) = states.try_extract_tensor::<f32>()?;
        let size = dims.last().and_then(|d| usize::try_from(*d).ok()).filter(|d| *d > 0);
        let size = size.ok_or_else(|| RuntimeError::Onnx("last_hidden_state has no size".to_owned()))?;
        Ok(rows
            .iter()
            .zip(states.chunks(width * size))
            .map(|((_, row), s)| pooled(s, size, row.len(), pooling, normalise))
            .collect())
    }
}

/// The mean of the first `rows` rows, or the first of them, at unit length if wanted.
fn pooled(states: &[f32], size: usize, rows: usize, pooling: Pooling, normalise: bool) -> Vec<f32> {
    let taken = match pooling {
        Pooling::Mean => rows,
        Pooling::First => rows.min(1),
    };
    let mut sum = vec![0f32; size];
    for row in states.chunks(size).take(taken) {
        for (s, x) in sum.iter_mut().zip(row) {
            *s += x;
        }
    }
    // At unit length the sum is the mean.
    let by = if normalise { sum.iter().map(|x| x * x).sum::<f32>().sqrt() } else { taken as f32 };
    if by > 0.0 {
        sum.iter_mut().for_each(|x| *x /= by);
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    /// Two rows, and one of padding.
    const STATES: [f32; 6] = [3.0, 0.0, 3.0, 8.0, 99.0, 99.0];

    #[test]
    fn the_mean_leaves_padding_out_and_has_unit_length() {
        let v = pooled(&STATES, 2, 2, Pooling::Mean, true);
        assert!((v[0] - 0.6).abs() < 1e-6 && (v[1] - 0.8).abs() < 1e-6, "{v:?}");
        assert_eq!(pooled(&[], 2, 0, Pooling::Mean, true), vec![0.0, 0.0]);
    }

    #[test]
    fn the_folder_says_how_states_become_a_vector() {
        assert_eq!(pooled(&STATES, 2, 2, Pooling::Mean, false), vec![3.0, 4.0]);
        assert_eq!(pooled(&STATES, 2, 2, Pooling::First, true), vec![1.0, 0.0]);
        assert_eq!(pooled(&STATES, 2, 2, Pooling::First, false), vec![3.0, 0.0]);
        assert_eq!(pooled(&[], 2, 0, Pooling::First, false), vec![0.0, 0.0]);
    }
}
