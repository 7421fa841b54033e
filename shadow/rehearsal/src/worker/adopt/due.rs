//! A draft, made beside the worker's loop: to read the journal and to embed some
//! thousand rows takes far longer than an audit may wait.

use std::sync::Arc;

use understudy_cast::registry::Lesson;
use understudy_cast::{Cast, CastError, Kind};
use understudy_tasks::Task;

use super::Ordered;
use super::answering::Answering;

/// A draft that is to be made.
pub struct Due {
    pub(super) order: Ordered,
    pub(super) task: Task,
    /// What an earlier try has read.
    pub(super) lesson: Option<Box<Lesson>>,
    pub(super) folded: u64,
    pub(super) cast: Arc<Cast>,
}

/// A draft that was made, or why not.
pub struct Drafted {
    pub(super) order: Ordered,
    /// Rows that the adapter was trained on, where that was read.
    pub(super) rows: u64,
    pub(super) came: Came,
}

/// What came of a draft.
pub(super) enum Came {
    Ready(Box<Answering>),
    /// No engine to embed with; what was read is kept.
    Away(Box<Lesson>),
    Failed(String),
}

impl Due {
    /// What it is for.
    #[must_use]
    pub fn order(&self) -> &Ordered {
        &self.order
    }

    /// Makes it. `read` gives what the adapter learnt, or says why it cannot be
    /// known; it is not asked again when a draft is tried again.
    pub async fn draft(self, read: impl Future<Output = Result<Lesson, String>>) -> Drafted {
        let Self { order, task, lesson, folded, cast } = self;
        let lesson = match lesson {
            Some(lesson) => lesson,
            None => match read.await {
                Ok(lesson) => Box::new(lesson),
                Err(why) => return Drafted { order, rows: 0, came: Came::Failed(why) },
            },
        };
        let rows = lesson.trained.len() as u64;
        if lesson.development.is_empty() {
            return Drafted { order, rows, came: Came::Failed(CastError::NoRows.to_string()) };
        }
        // It may have learnt anything up to here; a worker that is behind has not read it all.
        let learnt = lesson.trained.iter().chain(&lesson.development).map(|e| e.seq).max();
        let last = cast.of_task(task.id).into_iter().filter(|m| m.kind == Kind::Specialised);
        // Of two that were born at one place nobody could say which is the newer.
        let next = last.map(|m| m.born_seq + 1).max();
        let born = folded.max(learnt.unwrap_or_default()).max(next.unwrap_or_default());
        let came = match cast.draft(&task, &lesson, born).await {
            Ok(draft) => {
                let Lesson { development, .. } = *lesson;
                Came::Ready(Box::new(Answering::new(task, rows, draft, development)))
            }
            Err(CastError::NoEngine | CastError::Embed(_)) => Came::Away(lesson),
            Err(why) => Came::Failed(why.to_string()),
        };
        Drafted { order, rows, came }
    }
}

impl Drafted {
    /// A draft whose making broke off.
    #[must_use]
    pub fn broken_off(order: Ordered) -> Self {
        Self { order, rows: 0, came: Came::Failed("its draft broke off".to_owned()) }
    }
}
