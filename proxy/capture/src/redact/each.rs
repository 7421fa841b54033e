//! A pattern takes as much as it can, and may begin too early: a row number before a
//! card, another reference before an account. What is refused is looked into again.

use std::ops::Range;

use regex::Regex;

/// What `accept` makes of each match. After one that it refuses the search goes on from
/// the next place within it where a word ends, else after what was accepted.
pub(super) fn each(
    pattern: Option<&Regex>,
    text: &str,
    out: &mut Vec<Range<usize>>,
    accept: impl Fn(Range<usize>) -> Option<Range<usize>>,
) {
    let Some(pattern) = pattern else { return };
    let mut at = 0;
    while let Some(m) = pattern.find_at(text, at) {
        at = match accept(m.range()) {
            Some(found) => {
                // Never back to where it was: an empty range would be found for ever.
                let next = found.end.max(m.start() + 1);
                out.push(found);
                next
            }
            None => {
                let border = m.as_str().char_indices().skip(1).find(|(_, c)| !c.is_alphanumeric());
                border.map_or(m.end(), |(i, _)| m.start() + i)
            }
        };
    }
}
