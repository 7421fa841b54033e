//! What may have been meant by a word that is not known.

/// `; did you mean …?`, or nothing.
pub(super) fn did_you_mean(hint: Option<&str>) -> String {
    hint.map(|h| format!("; did you mean {h}?")).unwrap_or_default()
}

/// The candidate within a third of the word's length in edits.
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .map(|c| (strsim::levenshtein(word, c), c))
        .filter(|(d, c)| *d <= (word.len().max(c.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}
