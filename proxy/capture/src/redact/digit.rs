//! Decimal digits of the scripts in which people type numbers. The patterns take those
//! of every script for digits, so what stands for a number has to know them, too.

/// The zero of each script but ASCII, the other nine after it: Arabic-Indic and its
/// eastern form, the scripts of India from Devanagari to Malayalam, Thai, Lao, Burmese,
/// Khmer, full width.
const ZEROS: [u32; 16] = [
    0x0660, 0x06f0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0,
    0x1040, 0x17e0, 0xff10,
];

/// A digit: the zero of its script, and what it counts.
pub(super) fn of(c: char) -> Option<(u32, u32)> {
    if c.is_ascii() {
        return c.to_digit(10).map(|d| (u32::from('0'), d));
    }
    let code = u32::from(c);
    ZEROS.iter().find_map(|&zero| code.checked_sub(zero).filter(|d| *d < 10).map(|d| (zero, d)))
}

/// The digit as ASCII has it.
pub(super) fn plain(c: char) -> Option<char> {
    of(c).and_then(|(_, d)| char::from_digit(d, 10))
}

/// All digits of a text, as ASCII has them.
pub(super) fn all(text: &str) -> String {
    text.chars().filter_map(plain).collect()
}
