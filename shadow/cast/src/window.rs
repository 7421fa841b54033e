//! Texts longer than a model's window are cut in the middle: the beginning says
//! what the conversation is about, the end is what is asked, so the end gets
//! two thirds.

use std::borrow::Cow;

/// Characters of a part that are embedded. MiniLM's window is 256 word pieces,
/// some 4.5 characters each in English; what is longer it would cut itself, at
/// the end, which is the wrong place.
pub(crate) const EMBED_CHARS: usize = 1_000;

/// Characters left out, in the place where they stood.
const GAP: &str = " […] ";

/// The text, or its first third and last two thirds, `most` characters in all
/// (the mark of the gap aside).
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    // Bytes bound characters from above, so that short texts are not counted.
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let chars = text.chars().count();
    if chars <= most {
        return Cow::Borrowed(text);
    }
    let head = most / 3;
    let mut out: String = text.chars().take(head).collect();
    out.push_str(GAP);
    out.extend(text.chars().skip(chars - (most - head)));
    Cow::Owned(out)
}

/// What of a part's text is embedded.
pub(crate) fn to_embed(part_text: &str) -> String {
    cut(part_text, EMBED_CHARS).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_more_of_its_end() {
        let text = format!("{}{}", "a".repeat(500), "b".repeat(500));
        let cut = cut(&text, 90);
        assert_eq!(cut, format!("{} […] {}", "a".repeat(30), "b".repeat(60)));
    }

    #[test]
    fn a_text_that_fits_is_not_touched_and_characters_are_counted_not_bytes() {
        assert_eq!(cut("héé", 3), "héé");
        assert_eq!(cut("héllo", 3), "h […] lo");
    }
}
