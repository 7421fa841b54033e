//! A look at a text before the detectors' patterns are tried on it. Most strings of
//! a call hold nothing of theirs, and a pass that counts digits says so some fifty
//! times faster than the patterns do.
//!
//! A glance may be wrong in one way only: it says that something may be there
//! where nothing is. A property test holds each detector to that.

/// What was seen of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// Most digits in a row, with at most two of ` .()/-` between one and the next.
    pub(super) row: usize,
    /// Three digits, one of `-. ` and four digits follow one another.
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
        let goes_on = self.last.is_some_and(|last| {
            at - last - 1 <= GAP
                && before.get(last + 1..).is_some_and(|between| between.iter().all(|b| b" .()/-".contains(b)))
        });
        self.row = if goes_on { self.row + 1 } else { 1 };
        self.last = Some(at);
        self.glance.row = self.glance.row.max(self.row);
        if let [earlier @ .., a, b] = before {
            // A letter outside ASCII before them may begin a word or not.
            let begins = earlier.last().is_none_or(|c| !(c.is_ascii_alphanumeric() || *c == b'_'));
            self.glance.capitals_then_digit |= begins && a.is_ascii_uppercase() && b.is_ascii_uppercase();
        }
        if self.row >= 7
            && let [.., a, b, c, between, d, e, f] = before
        {
            let digits = [a, b, c, d, e, f].iter().all(|x| x.is_ascii_digit());
            self.glance.three_and_four |= digits && matches!(between, b'-' | b'.' | b' ');
        }
        if at >= self.word_end {
            let left = before.iter().rev().take_while(|b| in_word(**b)).count();
            let right = from.iter().take_while(|b| in_word(**b)).count();
            self.word_end = at + right;
            self.glance.token |= left + right >= TOKEN;
        }
    }
}

fn in_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'/' | b'=')
}
