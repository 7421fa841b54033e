//! A look at a text before the detectors' patterns are tried on it. Most strings of
//! a call hold nothing of theirs, and a pass that counts digits says so some fifty
//! times faster than the patterns do.
//!
//! A glance may be wrong in one way only: it says that something may be there
//! where nothing is. A property test holds each detector to that.

/// What was seen of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Most digits in a row, with at most two of ` .()/-` and [`UNBROKEN`] between one
    /// and the next.
    pub(super) row: usize,
    /// Three digits, one of `-. ` or [`UNBROKEN`], and four digits follow one another.
    pub(super) three_and_four: bool,
    /// Two capital letters that begin a word, and a digit, follow one another.
    pub(super) capitals_then_digit: bool,
    /// A digit stands in a word of at least [`TOKEN`] letters, digits and `_-.+/=`.
    pub(super) token: bool,
}

/// The shortest key that the pattern of secrets takes: `xoxb-` and ten more.
pub(super) const TOKEN: usize = 15;
/// A row of digits goes on over as many characters.
const GAP: usize = 2;
/// The hyphen and the spaces at which no line is broken: models write them in numbers.
const UNBROKEN: [char; 3] = ['\u{2011}', '\u{a0}', '\u{202f}'];
/// Bytes of the longest of them.
const WIDEST: usize = 3;
/// Bytes that are counted together.
const CHUNK: usize = 64;

impl Glance {
    /// Looks at a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        // Digits of other scripts are digits for the patterns, and too rare to be quick about.
        if !text.is_ascii() && text.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
            return Self { row: usize::MAX, three_and_four: true, capitals_then_digit: true, token: true };
        }
        let bytes = text.as_bytes();
        let mut seen = Seen { bytes, glance: Self::default(), row: 0, last: None, word_end: 0 };
        for (chunk, start) in bytes.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            if has_digit(chunk) {
                for (b, at) in chunk.iter().zip(start..) {
                    if b.is_ascii_digit() {
                        seen.digit(at);
                    }
                }
            }
        }
        seen.glance
    }
}

/// Written so that the compiler looks at many bytes at once.
fn has_digit(chunk: &[u8]) -> bool {
    chunk.iter().fold(0u8, |n, b| n | u8::from(b.wrapping_sub(b'0') < 10)) > 0
}

struct Seen<'t> {
    bytes: &'t [u8],
    glance: Glance,
    row: usize,
    last: Option<usize>,
    /// Where the word ends that was looked at last.
    word_end: usize,
}

impl Seen<'_> {
    fn digit(&mut self, at: usize) {
        let (before, from) = self.bytes.split_at_checked(at).unwrap_or((self.bytes, &[]));
        let goes_on = self.last.is_some_and(|last| before.get(last + 1..).is_some_and(is_gap));
        self.row = if goes_on { self.row + 1 } else { 1 };
        self.last = Some(at);
        self.glance.row = self.glance.row.max(self.row);
        if let [earlier @ .., a, b] = before {
            // A letter outside ASCII before them may begin a word or not.
            let begins = earlier.last().is_none_or(|c| !(c.is_ascii_alphanumeric() || *c == b'_'));
            self.glance.capitals_then_digit |= begins && a.is_ascii_uppercase() && b.is_ascii_uppercase();
        }
        self.glance.three_and_four |= self.row >= 7 && three_and_three(before);
        if at >= self.word_end {
            let left = before.iter().rev().take_while(|b| in_word(**b)).count();
            let right = from.iter().take_while(|b| in_word(**b)).count();
            self.word_end = at + right;
            self.glance.token |= left + right >= TOKEN;
        }
    }
}

/// Whether a row of digits goes on over this.
fn is_gap(between: &[u8]) -> bool {
    if between.len() <= GAP && between.is_ascii() {
        return between.iter().all(|b| b" .()/-".contains(b));
    }
    between.len() <= GAP * WIDEST
        && std::str::from_utf8(between).is_ok_and(|text| {
            text.chars().count() <= GAP && text.chars().all(|c| " .()/-".contains(c) || UNBROKEN.contains(&c))
        })
}

/// Whether it ends in three digits, what may stand before the last four, and three digits.
fn three_and_three(before: &[u8]) -> bool {
    let Some((before, digits)) = before.split_last_chunk::<3>() else { return false };
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let mut bytes = [0; 4];
    ['-', '.', ' '].into_iter().chain(UNBROKEN).any(|between| {
        let before = before.strip_suffix(between.encode_utf8(&mut bytes).as_bytes());
        let digits = before.and_then(|b| b.split_last_chunk::<3>()).map(|(_, digits)| digits);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    })
}

fn in_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'/' | b'=')
}
