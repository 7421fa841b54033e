//! When two parts are the same question, and how alike they are.

use understudy_call::Role;

use crate::part_alone::Turn;

/// Sixteen bytes of a hash.
pub(crate) type Key = [u8; 16];

/// The hash of a part as it is, with a reply.
pub(crate) fn exact(turns: &[Turn], reply: &str) -> Key {
    let mut h = blake3::Hasher::new();
    for (role, text) in turns {
        field(&mut h, &[role_byte(*role)]);
        field(&mut h, text.as_bytes());
    }
    field(&mut h, b"reply");
    field(&mut h, reply.as_bytes());
    first16(&h)
}

/// The hash of a part by what it asks: case, spaces and closing marks aside.
pub(crate) fn asked(turns: &[Turn]) -> Key {
    let mut h = blake3::Hasher::new();
    for (role, text) in turns {
        field(&mut h, &[role_byte(*role)]);
        let text = text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '!' | '?' | '…'));
        for word in text.split_whitespace() {
            field(&mut h, word.to_lowercase().as_bytes());
        }
    }
    first16(&h)
}

/// The hash of a label.
pub(crate) fn label(text: &str) -> Key {
    let mut h = blake3::Hasher::new();
    field(&mut h, text.as_bytes());
    first16(&h)
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::System => 0,
        Role::User => 1,
        Role::Assistant => 2,
        Role::Tool => 3,
    }
}

/// Adds a field with its length, so that no two lists of fields hash alike.
fn field(h: &mut blake3::Hasher, bytes: &[u8]) {
    h.update(&(bytes.len() as u64).to_le_bytes());
    h.update(bytes);
}

fn first16(h: &blake3::Hasher) -> Key {
    let mut out = [0; 16];
    h.finalize_xof().fill(&mut out);
    out
}

/// The word 3-grams of a part as sorted hashes without repeats, in lower case; of a
/// part of one or two words the whole.
pub(crate) fn shingles(turns: &[Turn]) -> Vec<u64> {
    let mut hashes: Vec<u64> = Vec::new();
    for (role, text) in turns {
        if turns.len() > 1 {
            hashes.push(mix(u64::from(role_byte(*role)) + 1));
        }
        hashes.extend(words(text).map(|word| word.chars().flat_map(char::to_lowercase).fold(FNV, step)));
    }
    let mut grams: Vec<u64> = match hashes.as_slice() {
        [] => vec![turns.iter().flat_map(|(_, t)| t.chars()).fold(FNV, step)],
        few if few.len() < 3 => vec![few.iter().fold(FNV, |h, w| mix(h ^ w))],
        many => many.windows(3).map(|three| three.iter().fold(FNV, |h, w| mix(h ^ w))).collect(),
    };
    grams.sort_unstable();
    grams.dedup();
    grams
}

/// The words of a text: letters and digits; where a script has no spaces each
/// character is one.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        let first = rest.chars().next()?;
        let end = match stands_alone(first) {
            true => first.len_utf8(),
            false => rest.find(|c: char| !c.is_alphanumeric() || stands_alone(c)).unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Han, kana, Thai, Lao and Khmer are written without spaces.
fn stands_alone(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// FNV-1a, whose steps are then mixed.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;

fn step(h: u64, c: char) -> u64 {
    (h ^ u64::from(u32::from(c))).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// |A ∩ B| / |A ∪ B| of two sorted lists without repeats.
pub(crate) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                both += 1;
                i += 1;
                j += 1;
            }
        }
    }
    let all = a.len() + b.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}
