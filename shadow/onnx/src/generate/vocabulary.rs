//! The tokenizer, and the same vocabulary as a trie of bytes for the grammar.

use std::sync::Arc;

use tokenizers::Tokenizer;
use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::contract::ModelFolder;
use crate::markers::Added;
use crate::runtime::RuntimeError;

/// A tokenizer with the bytes of each of its tokens.
pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    trie: TokTrie,
    /// Whether text tokenizes the same in the middle as at the start; only then
    /// may forced text be turned into tokens.
    canonical: bool,
}

impl Vocabulary {
    /// Reads `tokenizer.json`. `ends` are the tokens at which a reply ends.
    pub(crate) fn load(folder: &ModelFolder, ends: &[u32]) -> Result<Arc<Self>, RuntimeError> {
        let wrong = |problem: String| RuntimeError::Folder { folder: folder.path().to_path_buf(), problem };
        let bytes =
            std::fs::read(folder.tokenizer_file()).map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        whole(&mut tokenizer).map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        let json = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        let words = llguidance::token_bytes_from_tokenizer_json(&json)
            .map_err(|e| wrong(format!("tokenizer.json: {e}")))?;
        Self::of(tokenizer, &words, ends).map_err(wrong).map(Arc::new)
    }

    fn of(tokenizer: Tokenizer, words: &[Vec<u8>], ends: &[u32]) -> Result<Self, String> {
        let size = u32::try_from(words.len()).map_err(|_| "vocabulary too large".to_owned())?;
        let first = *ends.first().ok_or("genai_config.json: no eos_token_id")?;
        if let Some(bad) = ends.iter().find(|e| **e >= size) {
            return Err(format!("genai_config.json: eos_token_id {bad} is not among the {size} tokens"));
        }
        let trie = TokTrie::from(&TokRxInfo::new(size, first), words).with_eos_tokens(ends);
        let mut v = Self { tokenizer, trie, canonical: false };
        v.canonical = v.encode("{\"a").is_ok_and(|ids| v.bytes(&ids) == b"{\"a");
        Ok(v)
    }

    /// Its added tokens.
    pub(crate) fn added(&self) -> Added {
        added(&self.tokenizer)
    }

    /// The tokens of a text; special tokens in it are taken as such, and none is added.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(|e| e.to_string())
    }

    /// The bytes of ordinary tokens; special ones have none.
    pub(crate) fn bytes(&self, ids: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        for &id in ids {
            out.extend_from_slice(self.token_bytes(id));
        }
        out
    }

    pub(crate) fn token_bytes(&self, id: u32) -> &[u8] {
        if (id as usize) >= self.trie.vocab_size() || self.trie.is_special_token(id) {
            return &[];
        }
        self.trie.token(id)
    }

    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends().contains(&id)
    }

    /// The tokens at which a reply ends.
    pub(crate) fn ends(&self) -> &[u32] {
        self.trie.eos_tokens()
    }
}

/// A tokenizer.json may say to cut and to fill up, which is nothing for prompts.
fn whole(tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None)?;
    Ok(())
}

fn added(tokenizer: &Tokenizer) -> Added {
    let all = tokenizer.get_added_tokens_decoder();
    all.values().map(|token| (token.content.clone(), token.special)).collect()
}

/// The vocabulary as the grammar wants it.
pub(crate) fn environment(v: &Arc<Vocabulary>) -> TokEnv {
    Arc::new(Shared(Arc::clone(v)))
}

struct Shared(Arc<Vocabulary>);

impl TokenizerEnv for Shared {
    fn tok_trie(&self) -> &TokTrie {
        &self.0.trie
    }

    fn tokenize_bytes(&self, s: &[u8]) -> Vec<TokenId> {
        let trie = &self.0.trie;
        trie.tokenize_with_greedy_fallback(s, |text| {
            // Text that the tokenizer refuses is cut greedily instead.
            self.0.encode(text).unwrap_or_else(|_| trie.greedy_tokenize(text.as_bytes()))
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.0.canonical
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTS_AND_FILLS: &str = r#"{"version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
        "added_tokens": [{"id": 2, "content": "<|im_end|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null, "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}"#;

    #[test]
    fn a_text_is_read_whole_whatever_the_tokenizers_file_says() {
        let mut tokenizer = Tokenizer::from_bytes(CUTS_AND_FILLS).unwrap();
        let ids = |t: &Tokenizer, text: &str| t.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids(&tokenizer, "b a b"), [1, 0, 0, 0, 0, 0, 0, 0]);
        whole(&mut tokenizer).unwrap();
        assert_eq!(ids(&tokenizer, "b a b"), [1, 0, 1]);
        assert_eq!(added(&tokenizer), Added::from([("<|im_end|>".to_owned(), true)]));
    }
}
