use bytes::Bytes;

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
    /// Notes a chunk that goes by; keeps it unless `keep` is `None` or the limit is passed.
    pub(crate) fn note(&mut self, chunk: &Bytes, keep: Option<usize>) {
        self.passed += chunk.len() as u64;
        let Some(limit) = keep else { return };
        if self.cut || chunk.is_empty() {
            return;
        }
        if self.kept + chunk.len() > limit {
            self.cut = true;
            return;
        }
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

    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.chunks)
    }
}
