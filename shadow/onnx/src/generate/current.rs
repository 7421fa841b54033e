//! The adapters whose tensors are widened at present.

use std::collections::VecDeque;
use std::sync::Arc;

use ort::memory::Allocator;

use crate::adapter::{Adapter, Wide};
use crate::runtime::RuntimeError;

/// How many stay widened: one that was paused for another finds itself again.
/// At rank 16 each is some 22 MiB for a model of 135M, and made anew in some
/// milliseconds, which is why more are not kept.
const MOST: usize = 2;

/// The last used first. A run holds what it has bound, so none that is dropped
/// here goes from under it.
#[derive(Default)]
pub(crate) struct Current {
    wide: VecDeque<(u64, Arc<Wide>)>,
}

impl Current {
    pub(crate) fn of(&mut self, adapter: &Adapter) -> Result<Arc<Wide>, RuntimeError> {
        if let Some(at) = self.wide.iter().position(|(id, _)| *id == adapter.id())
            && let Some(found) = self.wide.remove(at)
        {
            self.wide.push_front(found);
        } else {
            // Room first: two and a new one would be three.
            self.wide.truncate(MOST - 1);
            let wide = Arc::new(adapter.widen(&Allocator::default())?);
            self.wide.push_front((adapter.id(), wide));
        }
        match self.wide.front() {
            Some((_, wide)) => Ok(Arc::clone(wide)),
            None => Err(RuntimeError::Onnx("no adapter is current".to_owned())),
        }
    }
}
