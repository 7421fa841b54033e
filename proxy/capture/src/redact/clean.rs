//! Texts in which nothing was found, to be known again: each call of an agent
//! brings its system text, its tools and its earlier turns once more.
//!
//! Whole texts are compared, never hashes of them, and what is found depends on
//! the text alone: a text that is known here is one that would come out of the
//! detectors as it went in.

/// The shortest text that is worth it.
const LEAST: usize = 64;
/// The longest that is kept.
const MOST: usize = 32 << 10;
/// Texts that are kept: 4 MiB at most.
const SLOTS: usize = 128;

/// The texts.
#[derive(Default)]
pub(super) struct Clean(Vec<Option<Box<str>>>);

impl Clean {
    /// Whether it is of a length that is kept.
    pub(super) fn takes(text: &str) -> bool {
        (LEAST..=MOST).contains(&text.len())
    }

    /// Whether nothing was found in this very text before.
    pub(super) fn knows(&self, text: &str) -> bool {
        Self::takes(text) && self.0.get(slot(text)).is_some_and(|kept| kept.as_deref() == Some(text))
    }

    /// Nothing was found in it.
    pub(super) fn keep(&mut self, text: &str) {
        if !Self::takes(text) {
            return;
        }
        self.0.resize(SLOTS, None);
        if let Some(kept) = self.0.get_mut(slot(text)) {
            *kept = Some(text.into());
        }
    }
}

/// Where a text is looked for: by its length and three looks into it.
fn slot(text: &str) -> usize {
    let bytes = text.as_bytes();
    let word = |at: usize| -> u64 {
        bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let mixed = [bytes.len() as u64, word(8), word(bytes.len() / 2), word(bytes.len() - 8)]
        .into_iter()
        .fold(0u64, |h, w| (h ^ w).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    mixed as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_only_whole_and_only_once_it_was_kept() {
        let text = "You are a help desk. ".repeat(8);
        let mut clean = Clean::default();
        assert!(!clean.knows(&text));
        clean.keep(&text);
        assert!(clean.knows(&text));
        for other in
            [text.replacen('Y', "W", 1), text.replacen("desk. You", "desk, You", 1), format!("{text} ")]
        {
            assert!(!clean.knows(&other));
        }
        clean.keep("short");
        assert!(!clean.knows("short"));
        let long = "x".repeat(MOST + 1);
        clean.keep(&long);
        assert!(!clean.knows(&long));
    }
}
