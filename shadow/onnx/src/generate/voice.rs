//! The part of a model that writes and counts text.

use std::sync::Arc;

use understudy_call::{Message, Tool};

use super::vocabulary::Vocabulary;
use crate::template::{ChatTemplate, TemplateError};

/// What writes and counts text for a model, cheap to clone and to share between
/// threads: the generator itself is one thread's.
#[derive(Clone)]
pub struct Voice {
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) template: Option<Arc<ChatTemplate>>,
    pub(super) context: usize,
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("context", &self.context).finish_non_exhaustive()
    }
}

impl Voice {
    /// As `Generator::render_chat`.
    ///
    /// # Errors
    /// When the folder has no chat template, or the template refuses.
    pub fn render_chat(&self, messages: &[Message], tools: &[Tool]) -> Result<String, TemplateError> {
        match &self.template {
            Some(t) => t.render(messages, tools),
            None => Err(TemplateError::Syntax("the model's folder has none".to_owned())),
        }
    }

    /// Tokens of a text; 0 when the tokenizer refuses it.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        self.vocabulary.encode(text).map_or(0, |ids| ids.len())
    }

    /// Most tokens of prompt and reply together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }
}
