//! Texts longer than a model's window are cut in the middle: the beginning says
//! what the conversation is about, the end is what is asked, so the end gets
//! two thirds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Characters of a part that a version of [`Sight::Whole`] has embedded.
const WHOLE_CHARS: usize = 1_000;

/// Tokens of a part that are embedded. MiniLM's window is 256 word pieces; what is longer
/// it would cut itself, at the end, which is the wrong place.
const TOKENS: usize = 240;

/// Parts of a token that [`parts`] counts in.
const TOKEN: usize = 18;

/// Characters left out, in the place where they stood.
const GAP: &str = " […] ";

/// What of a part a version has embedded. It is part of the version: what it remembers
/// and what it is asked must be seen alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sight {
    /// The masked values and the turns, cut by characters: what versions saw that were
    /// made before there was anything else.
    #[default]
    Whole,
    /// The turns, cut by tokens; the masked values only where there is no turn. A clock or a
    /// link that stands in every call says nothing of what is asked, and takes the place of
    /// what does.
    Turns,
}

impl Sight {
    /// Whether it is what a snapshot has that does not say.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// What is embedded of a part's text, whose turns begin at `turns_at`
    /// ([`understudy_tasks::Part::turns_at`]).
    pub(crate) fn of(self, text: &str, turns_at: usize) -> String {
        match self {
            Self::Whole => cut(text, WHOLE_CHARS).into_owned(),
            Self::Turns => {
                let turns = text.get(turns_at..).filter(|turns| !turns.trim().is_empty());
                cut_to_tokens(turns.unwrap_or(text), TOKENS).into_owned()
            }
        }
    }
}

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

/// The same by an estimate of the embedder's tokens.
fn cut_to_tokens(text: &str, tokens: usize) -> Cow<'_, str> {
    let most = tokens * TOKEN;
    if text.len() <= tokens || text.chars().map(parts).sum::<usize>() <= most {
        return Cow::Borrowed(text);
    }
    let head = end_of(text.char_indices().map(|(at, c)| (at + c.len_utf8(), c)), most / 3).unwrap_or(0);
    let tail = end_of(text.char_indices().rev(), most - most / 3).unwrap_or(text.len());
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    Cow::Owned(format!("{head}{GAP}{tail}"))
}

/// Where the last of the characters ends that so many parts of tokens hold.
fn end_of(mut chars: impl Iterator<Item = (usize, char)>, most: usize) -> Option<usize> {
    let (mut held, mut end) = (0, None);
    while let Some((at, c)) = chars.next().filter(|(_, c)| held + parts(*c) <= most) {
        held += parts(c);
        end = Some(at);
    }
    end
}

/// What a character takes of a token of an uncased English vocabulary, in eighteenths:
/// some 4.5 letters of English make one, three of what is written with accents, three
/// digits, each sign, and nearly each letter of other scripts.
fn parts(c: char) -> usize {
    match c {
        'a'..='z' | 'A'..='Z' => 4,
        c if c.is_whitespace() => 4,
        '0'..='9' | '\u{c0}'..='\u{24f}' => 6,
        c if c.is_ascii() => TOKEN,
        _ => TOKEN * 5 / 6,
    }
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

    #[test]
    fn what_is_embedded_is_what_is_asked_and_not_what_stands_in_every_call() {
        let links = "url: https://example.com/help/a/long/way?to=it\n".repeat(40);
        let text = format!("{links}Where is my parcel?");
        assert_eq!(Sight::Turns.of(&text, links.len()), "Where is my parcel?");
        assert!(Sight::Whole.of(&text, links.len()).starts_with("url: "));
        assert!(Sight::Turns.of(&links, links.len()).starts_with("url: "), "nothing else varies");
    }

    #[test]
    fn the_end_stays_in_the_window_whatever_script_or_signs_a_text_has() {
        for (unit, least, most) in [
            ("a word and another ", 700, 1_100),
            ("где моя посылка ", 200, 350),
            ("我的包裹在哪里", 200, 320),
            ("wo ist mein päckchen größer ", 700, 1_100),
            (r#"{"a":[1,{"b":"c"}],"d":2}"#, 280, 500),
        ] {
            let text = format!("first {} last?", unit.repeat(200));
            let seen = Sight::Turns.of(&text, 0);
            let chars = seen.chars().count();
            assert!((least..most).contains(&chars), "{unit}: {chars}");
            assert!(seen.starts_with("first") && seen.ends_with("last?") && seen.contains(GAP), "{seen}");
        }
        let short = "я".repeat(200);
        assert_eq!(Sight::Turns.of(&short, 0), short);
    }
}
