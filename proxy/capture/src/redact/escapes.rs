//! JSON that cannot be read whole: in a fence, in lines, cut off. Its escapes are undone
//! to look at it, or a value would begin with the letter of the `\n` before it, and what
//! is replaced is replaced where it was written. Every other byte stays.

use std::ops::Range;

/// A text as it reads, and where its escapes stood.
pub(super) struct Unescaped<'t> {
    written: &'t str,
    text: String,
    /// In order.
    escapes: Vec<Escape>,
}

struct Escape {
    /// Its character in the text as it reads.
    read: Range<usize>,
    /// Itself.
    written: Range<usize>,
}

/// Whether escapes cannot hide anything that was not there with them: they make up
/// digits and letters with `\u` only, and others part or join what they stand between.
pub(super) fn hide_nothing(text: &str) -> bool {
    !text.contains('\\') || (!text.contains("\\u") && !text.bytes().any(|b| b.is_ascii_digit()))
}

/// Whether a text looks like JSON, or like what Python prints of its values. In any other a
/// backslash is just that: in `CORP\nick@corp.com` it parts two names.
pub(super) fn may_have_them(text: &str) -> bool {
    text.contains('\\') && (text.contains('"') || text.contains("{'") || text.contains("['"))
}

impl<'t> Unescaped<'t> {
    /// `None` where there are no escapes.
    pub(super) fn of(written: &'t str) -> Option<Self> {
        let mut text = String::new();
        let mut escapes = Vec::new();
        let (mut done, mut from) = (0, 0);
        while let Some(at) = written.get(from..).and_then(|rest| rest.find('\\')).map(|i| from + i) {
            let rest = written.get(at..).unwrap_or_default();
            let after = rest.trim_start_matches('\\');
            // JSON in a string of JSON doubles them; how deep it lies does not matter here.
            from = at + (rest.len() - after.len());
            let Some((c, len)) = meant(after) else { continue };
            from += len;
            text.push_str(written.get(done..at).unwrap_or_default());
            let start = text.len();
            text.push(c);
            escapes.push(Escape { read: start..text.len(), written: at..from });
            done = from;
        }
        if escapes.is_empty() {
            return None;
        }
        text.push_str(written.get(done..).unwrap_or_default());
        Some(Self { written, text, escapes })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text as it was written, with these in the places of others, which are ranges
    /// of the text as it reads, in order and apart.
    pub(super) fn with(&self, stand_ins: &[(Range<usize>, String)]) -> String {
        let mut out = String::with_capacity(self.written.len());
        let mut done = 0;
        for (range, new) in stand_ins {
            out.push_str(self.written.get(done..self.place(range.start)).unwrap_or_default());
            self.put(range, new, &mut out);
            done = self.place(range.end);
        }
        out.push_str(self.written.get(done..).unwrap_or_default());
        out
    }

    /// How many escapes end before this place of the text as it reads, or at it.
    fn before(&self, at: usize) -> usize {
        self.escapes.partition_point(|e| e.read.end <= at)
    }

    /// Where this place was written.
    fn place(&self, at: usize) -> usize {
        let last = self.before(at).checked_sub(1).and_then(|i| self.escapes.get(i));
        last.map_or(at, |e| e.written.end + (at - e.read.end))
    }

    /// A stand-in. Characters that it leaves as they were are written as they were.
    fn put(&self, range: &Range<usize>, new: &str, out: &mut String) {
        let inside = self.escapes.get(self.before(range.start)..self.before(range.end)).unwrap_or_default();
        let old = self.text.get(range.clone()).unwrap_or_default();
        if inside.is_empty() || old.chars().count() != new.chars().count() {
            out.push_str(new);
            return;
        }
        let mut inside = inside.iter().peekable();
        for ((i, was), is) in old.char_indices().zip(new.chars()) {
            match inside.next_if(|e| e.read.start == range.start + i) {
                Some(e) if was == is => out.push_str(self.written.get(e.written.clone()).unwrap_or_default()),
                _ => out.push(is),
            }
        }
    }
}

/// What the text after a backslash makes of it, and the bytes that it takes.
fn meant(after: &str) -> Option<(char, usize)> {
    let c = match after.bytes().next()? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'"' => '"',
        b'/' => '/',
        b'u' => {
            let hex = after.get(1..5).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            let code = u32::from_str_radix(hex, 16).ok()?;
            // Half of a pair is no character of a value's.
            return Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 5));
        }
        _ => return None,
    };
    Some((c, 1))
}
