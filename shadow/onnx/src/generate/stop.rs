//! Stop sequences, found in bytes as they come.

/// Text made of token bytes, cut before the first stop sequence.
#[derive(Debug, Default)]
pub(crate) struct Written {
    bytes: Vec<u8>,
    stops: Vec<Vec<u8>>,
}

impl Written {
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|s| !s.is_empty()).map(|s| s.as_bytes().to_vec()).collect();
        Self { bytes: Vec::new(), stops }
    }

    /// Adds a token's bytes. `true` when a stop sequence is complete: the text
    /// then ends before it.
    pub(crate) fn push(&mut self, token: &[u8]) -> bool {
        let old = self.bytes.len();
        self.bytes.extend_from_slice(token);
        let first = self
            .stops
            .iter()
            .filter_map(|stop| {
                let from = old.saturating_sub(stop.len() - 1);
                let tail = self.bytes.get(from..)?;
                tail.windows(stop.len()).position(|w| w == stop.as_slice()).map(|at| from + at)
            })
            .min();
        if let Some(at) = first {
            self.bytes.truncate(at);
        }
        first.is_some()
    }

    /// The text; a character that was cut in its middle becomes U+FFFD.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use super::*;

    #[test]
    fn a_stop_is_found_across_tokens_and_left_out() {
        for cut in 1..10 {
            let all = b"one\n\nENDtwo";
            let mut w = Written::new(&["\n\nEND".into(), "".into()]);
            let mut stopped = false;
            for piece in all.chunks(cut) {
                if w.push(piece) {
                    stopped = true;
                    break;
                }
            }
            assert!(stopped, "{cut}");
            assert_eq!(w.text(), "one", "{cut}");
        }
    }

    #[test]
    fn the_earliest_of_several_stops_wins() {
        let mut w = Written::new(&["c".into(), "bc".into()]);
        assert!(w.push(b"abcd"));
        assert_eq!(w.text(), "a");
    }

    #[test]
    fn half_characters_are_joined() {
        let mut w = Written::new(&["ö".into()]);
        assert!(!w.push(&[b'x', 0xc3]));
        assert!(w.push(&[0xb6]));
        assert_eq!(w.text(), "x");
    }

    #[test]
    fn without_stops_everything_is_kept() {
        let mut w = Written::new(&[]);
        assert!(!w.push("grüße".as_bytes()));
        assert_eq!(w.text(), "grüße");
    }
}
