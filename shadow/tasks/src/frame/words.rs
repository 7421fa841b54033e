//! The words of a message, and which of them may be others in a live call.

use std::borrow::Cow;
use std::ops::Range;

use crate::mask::{Masked, found, with_kinds};

/// A number of so many digits may be a person's, and a word of so many characters with some
/// digits in it a secret.
const NUMBER: usize = 7;
const SECRET: usize = 20;

/// The kind of a date or a time.
const TIME: &str = "time";

/// A word of a text.
pub(super) struct Word<'t> {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) text: &'t str,
    /// The dates and addresses in it, by their kinds, and where they stand in it.
    pub(super) values: Vec<(&'static str, Range<usize>)>,
    /// Whether a line ends before it, and after.
    pub(super) breaks: (bool, bool),
}

impl<'t> Word<'t> {
    /// The addresses in it, in order.
    pub(super) fn addresses(&self) -> String {
        let addresses = self.values.iter().filter(|(kind, _)| *kind != TIME);
        addresses.filter_map(|(_, range)| self.text.get(range.clone())).collect::<Vec<_>>().join(" ")
    }

    /// The word with the kinds of its values instead of them.
    pub(super) fn shown(&self) -> Cow<'t, str> {
        if self.values.is_empty() {
            return Cow::Borrowed(self.text);
        }
        Cow::Owned(with_kinds(self.text, &self.values))
    }

    /// The values of the part that stand in it; the whole word where that is one.
    pub(super) fn masked(&self, personal: bool) -> Vec<Masked> {
        let of = |kind: &str, value: &str| Masked { kind: kind.to_owned(), value: value.to_owned() };
        if personal && self.values.is_empty() {
            return vec![of("number", self.text)];
        }
        self.values.iter().filter_map(|(kind, range)| Some(of(kind, self.text.get(range.clone())?))).collect()
    }
}

/// Whether two words have the same shape, as a stand-in has that of its value.
pub(super) fn alike(a: &str, b: &str) -> bool {
    let kind = |c: char| match c {
        '0'..='9' => '0',
        'a'..='z' => 'a',
        'A'..='Z' => 'A',
        other => other,
    };
    a.len() == b.len() && a.chars().map(kind).eq(b.chars().map(kind))
}

/// Where words stand that the journal may have stand-ins for: secrets, and the numbers of
/// cards, accounts and telephones, in one word or in several.
pub(super) fn personal(words: &[Word<'_>]) -> Vec<Range<usize>> {
    // A date is a value as it is.
    let digits = |word: &Word<'_>| match word.values.is_empty() {
        true => word.text.chars().filter(char::is_ascii_digit).count(),
        false => 0,
    };
    let mut found = Vec::new();
    for run in words.chunk_by(|a, b| digits(a) > 0 && digits(b) > 0) {
        let is_number = run.iter().map(digits).sum::<usize>() >= NUMBER;
        let range = run.first().map_or(0, |w| w.from)..run.last().map_or(0, |w| w.to);
        if is_number {
            found.push(range);
            continue;
        }
        let is_secret = |w: &&Word<'_>| w.text.len() >= SECRET && digits(w) > 2;
        found.extend(run.iter().filter(is_secret).map(|w| w.from..w.to));
    }
    found
}

/// The words of a text; a value of several words is one.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut values = found(text).filter(|(kind, _)| matches!(*kind, TIME | "email")).peekable();
    let mut words: Vec<Word<'_>> = Vec::new();
    // Where the value ends that the last word has.
    let (mut at, mut valued) = (0, 0);
    for piece in text.split_inclusive(char::is_whitespace) {
        let (from, word) = (at, piece.trim_end());
        let to = from + word.len();
        at += piece.len();
        let broke = piece.get(word.len()..).is_some_and(|space| space.contains('\n'));
        if word.is_empty() {
            // More space after the last word.
            if let Some(last) = words.last_mut() {
                last.breaks.1 |= broke;
            }
            continue;
        }
        let broke_before = words.last().is_some_and(|last| last.breaks.1);
        if from >= valued || words.is_empty() {
            words.push(Word { from, to, text: word, values: Vec::new(), breaks: (broke_before, broke) });
        }
        let Some(last) = words.last_mut() else { continue };
        (last.to, last.text, last.breaks.1) = (to, text.get(last.from..to).unwrap_or_default(), broke);
        while let Some((kind, range)) = values.next_if(|(_, range)| range.start < to) {
            valued = range.end;
            let within = range.start.saturating_sub(last.from)..range.end.saturating_sub(last.from);
            last.values.push((kind, within));
        }
    }
    words
}
