//! Drafts of versions, made beside the worker's loop, so that a demotion does not
//! wait for the reading of a journal.

use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use understudy_capture::Journal;
use understudy_rehearsal::worker::{Drafted, Due, Ordered};
use understudy_rehearsal::{Rehearsal, RehearsalError};

use super::lesson;

/// Makes a draft out of what its adapter learnt.
pub(crate) async fn draft(due: Due, journal: Journal, adapters: PathBuf) -> Drafted {
    let adapter = due.order().adapter.clone();
    let read = async move {
        let reading = tokio::task::spawn_blocking(move || lesson(&journal, &adapters, &adapter));
        match reading.await {
            Ok(lesson) => lesson.map_err(|e| e.to_string()),
            Err(_) => Err("the reading of what it learnt broke off".to_owned()),
        }
    };
    due.draft(read).await
}

/// The draft that is being made, if any.
#[derive(Default)]
pub(crate) struct Drafts(Option<(Ordered, JoinHandle<Drafted>)>);

impl Drafts {
    /// Hands in a draft that was made, and has the next one made that is due; says
    /// whether one was handed in.
    ///
    /// # Errors
    /// The journal failed.
    pub(crate) async fn look(
        &mut self,
        rehearsal: &mut Rehearsal,
        journal: &Journal,
        adapters: &Path,
    ) -> Result<bool, RehearsalError> {
        let made = self.0.take_if(|(_, making)| making.is_finished());
        let handed_in = made.is_some();
        if let Some((order, making)) = made {
            let drafted = making.await.unwrap_or_else(|_| Drafted::broken_off(order));
            rehearsal.drafted(drafted).await?;
        }
        if self.0.is_none()
            && let Some(due) = rehearsal.next_draft()
        {
            let order = due.order().clone();
            self.0 = Some((order, tokio::spawn(draft(due, journal.clone(), adapters.to_owned()))));
        }
        Ok(handed_in)
    }
}
