use super::digit;

/// A stream of chance that is the same for the same key, kind and value.
pub struct Draw {
    stream: blake3::OutputReader,
}

impl std::fmt::Debug for Draw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draw")
    }
}

impl Draw {
    pub(super) fn new(key: &[u8; 32], kind: &str, canonical: &str) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(kind.as_bytes());
        hasher.update(&[0]);
        hasher.update(canonical.as_bytes());
        Self { stream: hasher.finalize_xof() }
    }

    /// Names the value that it is drawn for, and says nothing of it.
    pub(super) fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        let mut stream = self.stream.clone();
        stream.set_position(0);
        stream.fill(&mut seed);
        seed
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        let mut bytes = [0u8; 8];
        self.stream.fill(&mut bytes);
        // 64 bits against a small n: the bias is below 2^-32.
        u32::try_from(u64::from_le_bytes(bytes) % u64::from(n.max(1))).unwrap_or(0)
    }

    /// A digit.
    pub fn digit(&mut self) -> char {
        self.of('0', 10)
    }

    /// A character of the same class: digit, small or capital letter; others stay.
    pub fn like(&mut self, c: char) -> char {
        match c {
            '0'..='9' => self.digit(),
            'a'..='z' => self.of('a', 26),
            'A'..='Z' => self.of('A', 26),
            // Letters of other alphabets: which one it was is not kept.
            c if c.is_alphabetic() && !c.is_ascii() => self.of('a', 26),
            // A digit of another script.
            c => digit::of(c).and_then(|(zero, _)| char::from_u32(zero + self.below(10))).unwrap_or(c),
        }
    }

    fn of(&mut self, first: char, n: u32) -> char {
        char::from_u32(u32::from(first) + self.below(n)).unwrap_or(first)
    }
}
