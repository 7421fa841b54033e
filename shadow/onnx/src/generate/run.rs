//! One generation on its way.

use std::sync::Arc;
use std::time::Duration;

use llguidance::Matcher;
use understudy_call::{Declined, Finish};

use super::decoding::{GenerateError, TokenOut};
use super::graph::Cache;
use super::stop::Written;
use super::vocabulary::Vocabulary;
use crate::adapter::Adapter;
use crate::sampler::Sampler;

/// One generation on its way. Dropping it loses its cache and nothing else.
pub struct Run {
    pub(super) cache: Cache,
    pub(super) adapter: Option<Arc<Adapter>>,
    /// Prompt and reply so far.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_tokens: usize,
    pub(super) cached_tokens: usize,
    pub(super) max_tokens: usize,
    pub(super) matcher: Option<Matcher>,
    /// The reply may be nothing at all.
    pub(super) or_nothing: bool,
    pub(super) sampler: Sampler,
    pub(super) bar: Option<f64>,
    pub(super) written: Written,
    pub(super) out: Option<Vec<TokenOut>>,
    pub(super) free_sum: f64,
    pub(super) free_min: f64,
    pub(super) free_count: usize,
    pub(super) finish: Option<Finish>,
    /// It ended at a stop text.
    pub(super) at_stop: bool,
    pub(super) prefill: Duration,
    pub(super) decode: Duration,
}

impl Run {
    /// Why it ended; `None` while it goes on.
    #[must_use]
    pub fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }

    /// Tokens of the prompt that are still to be computed.
    #[must_use]
    pub fn prompt_left(&self) -> usize {
        self.prompt_tokens.saturating_sub(self.cache.tokens.len())
    }

    /// Tokens of the reply so far.
    #[must_use]
    pub fn reply_tokens(&self) -> usize {
        self.tokens.len().saturating_sub(self.prompt_tokens)
    }

    /// Takes a token into the reply. `true` when the run ends with it.
    pub(super) fn write(
        &mut self,
        vocabulary: &Vocabulary,
        id: u32,
        logprob: Option<f64>,
        forced: bool,
    ) -> bool {
        self.tokens.push(id);
        let bytes = vocabulary.token_bytes(id);
        if let Some(out) = &mut self.out {
            out.push(TokenOut { id, text: String::from_utf8_lossy(bytes).into_owned(), logprob, forced });
        }
        if let (Some(p), false) = (logprob, forced) {
            self.free_sum += p;
            self.free_min = self.free_min.min(p);
            self.free_count += 1;
        }
        self.at_stop = self.written.push(bytes);
        if self.at_stop || vocabulary.is_end(id) {
            self.finish = Some(Finish::Stop);
        } else if self.reply_tokens() >= self.max_tokens {
            self.finish = Some(Finish::Length);
        }
        self.finish.is_some()
    }

    pub(super) fn check_bar(&self) -> Result<(), GenerateError> {
        match self.bar {
            Some(bar) if self.free_sum < bar => Err(GenerateError::Declined(Declined::BelowBar)),
            _ => Ok(()),
        }
    }
}
