use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Most bytes that the bodies of all calls under way may hold: thousands of long
/// replies at once must not fill the memory of the process that carries them.
const MOST_HELD: usize = 256 << 20;

/// What they hold.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The copy of one body: the chunks as they went by, up to a limit. A chunk is
/// counted, not copied.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    chunks: Vec<Bytes>,
    kept: usize,
    passed: u64,
    cut: bool,
}

impl Tap {
    /// Notes a chunk that goes by; keeps it unless `keep` is `None`, the limit is
    /// passed, or all calls together hold too much.
    pub(crate) fn note(&mut self, chunk: &Bytes, keep: Option<usize>) {
        self.passed += chunk.len() as u64;
        let Some(limit) = keep else { return };
        if self.cut || chunk.is_empty() {
            return;
        }
        if self.kept + chunk.len() > limit || HELD.load(Ordering::Relaxed) + chunk.len() > MOST_HELD {
            self.cut = true;
            return;
        }
        HELD.fetch_add(chunk.len(), Ordering::Relaxed);
        self.kept += chunk.len();
        self.chunks.push(chunk.clone());
    }

    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    pub(crate) fn cut(&self) -> bool {
        self.cut
    }

    pub(crate) fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// What was kept; whoever takes it has a bound of its own.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        HELD.fetch_sub(std::mem::take(&mut self.kept), Ordering::Relaxed);
        std::mem::take(&mut self.chunks)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        HELD.fetch_sub(self.kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bodies_together_are_bounded_and_let_go() {
        let chunk = Bytes::from(vec![0; 1 << 20]);
        let mut taps: Vec<Tap> = (0..300).map(|_| Tap::default()).collect();
        for tap in &mut taps {
            tap.note(&chunk, Some(4 << 20));
        }
        assert!(taps.iter().any(|t| t.cut) && taps.iter().any(|t| !t.cut));
        assert!(HELD.load(Ordering::Relaxed) <= MOST_HELD);
        let mut first = taps.swap_remove(0);
        let kept = first.take();
        assert_eq!((kept.len(), first.passed()), (1, 1 << 20));
        drop((first, taps));
        let mut next = Tap::default();
        next.note(&chunk, Some(4 << 20));
        assert!(!next.cut);
    }
}
