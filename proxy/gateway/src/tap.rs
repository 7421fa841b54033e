use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Most bytes that the bodies of all calls under way may hold: thousands of long
/// replies at once must not fill the memory of the process that carries them.
const MOST_HELD: usize = 256 << 20;

/// Bodies up to this size are copied into one block: most of an agent's calls.
const TOGETHER: usize = 64 << 10;

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

    /// Whether the last line that was kept is a stream's `data: [DONE]`. In a chunk's JSON
    /// no line begins so, since line ends are escaped there.
    pub(crate) fn ends_done(&self) -> bool {
        // Longer than that line and what may stand around it; the pieces may be any.
        let mut tail: Vec<u8> =
            self.chunks.iter().rev().flat_map(|c| c.iter().rev()).copied().take(64).collect();
        tail.reverse();
        let last = tail.trim_ascii_end().rsplit(|b| matches!(b, b'\n' | b'\r')).next().unwrap_or_default();
        !self.cut && last.strip_prefix(b"data:").is_some_and(|data| data.trim_ascii() == b"[DONE]")
    }

    /// What was kept; whoever takes it has a bound of its own.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        HELD.fetch_sub(std::mem::take(&mut self.kept), Ordering::Relaxed);
        std::mem::take(&mut self.chunks)
    }
}

/// Both bodies of a call in one block of memory, where they are of usual size. The
/// journal's thread lets go of what it is given, and memory that another thread has
/// taken costs both: one piece is less than a piece for each chunk.
pub(crate) fn together(request: Vec<Bytes>, reply: Vec<Bytes>) -> (Vec<Bytes>, Vec<Bytes>) {
    let size = |chunks: &[Bytes]| chunks.iter().map(Bytes::len).sum::<usize>();
    let (asked, answered) = (size(&request), size(&reply));
    if asked + answered > TOGETHER {
        return (request, reply);
    }
    let mut block = Vec::with_capacity(asked + answered);
    for chunk in request.iter().chain(&reply) {
        block.extend_from_slice(chunk);
    }
    let mut request = Bytes::from(block);
    let reply = request.split_off(asked);
    let one = |body: Bytes| if body.is_empty() { Vec::new() } else { vec![body] };
    (one(request), one(reply))
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
    fn usual_bodies_become_one_block_and_large_ones_stay_where_they_are() {
        let chunks = |all: &[&'static [u8]]| all.iter().copied().map(Bytes::from_static).collect::<Vec<_>>();
        let (request, reply) = together(chunks(&[b"ab", b"c"]), chunks(&[b"d", b"", b"ef"]));
        assert_eq!((request, reply), (chunks(&[b"abc"]), chunks(&[b"def"])));
        assert_eq!(together(Vec::new(), chunks(&[b"d"])), (Vec::new(), chunks(&[b"d"])));
        assert_eq!(together(Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let large = vec![Bytes::from(vec![0; TOGETHER]), Bytes::from_static(b"x")];
        let (request, reply) = together(large.clone(), chunks(&[b"d"]));
        assert_eq!((request.len(), reply.len()), (2, 1));
        assert_eq!(request.first().map(|b| b.as_ptr()), large.first().map(|b| b.as_ptr()));
    }

    #[test]
    fn a_stream_ends_done_in_whatever_pieces_it_came() {
        let done = |pieces: &[&'static [u8]]| {
            let mut tap = Tap::default();
            for piece in pieces {
                tap.note(&Bytes::from_static(piece), Some(1 << 20));
            }
            tap.ends_done()
        };
        assert!(done(&[b"data: {}\n\ndata: [DONE]\n\n"]));
        assert!(done(&[b"data: {}\r\n\r\nda", b"ta:[DO", b"NE]", b"\r\n"]));
        assert!(done(&[b"data: [DONE]"]));
        assert!(!done(&[b"data: {}\n\n"]) && !done(&[]) && !done(&[b"data: [DONE"]));
        assert!(!done(&[b"data: {\"content\":\"data: [DONE]"]), "it is said, not meant");
        assert!(!done(&[b"data: [DONE]\n\ndata: {}\n\n"]));
        let mut cut = Tap::default();
        cut.note(&Bytes::from_static(b"data: {}\n\ndata: [DONE]\n\n"), Some(4));
        cut.note(&Bytes::from_static(b"\n"), Some(4));
        assert!(!cut.ends_done());
    }

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
