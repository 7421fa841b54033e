//! What was learnt of conversations outlives the process: on a laptop it may be one for
//! each run of an agent, and a run of twenty calls teaches little by itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use understudy_tasks::Conversations;

use crate::state;

/// Between two times that it is written, where there is something new.
const EVERY: Duration = Duration::from_secs(60);

/// The file in the state folder, and whose it is.
#[derive(Clone)]
pub(super) struct Openings {
    file: PathBuf,
    conversations: Conversations,
    /// One writes at a time.
    writing: Arc<Mutex<()>>,
}

impl Openings {
    /// Takes up what is kept in a state folder; nothing where that cannot be read.
    pub(super) fn of(folder: &Path, conversations: Conversations) -> Self {
        let file = folder.join("openings.json");
        let kept = match std::fs::read(&file) {
            Ok(kept) => conversations.take_up(&kept).map_err(|e| e.to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e.to_string()),
        };
        if let Err(problem) = kept {
            let file = file.display();
            tracing::warn!(%file, problem, "what examples agents bring as turns is learnt anew");
        }
        Self { file, conversations, writing: Arc::default() }
    }

    /// Writes what is new; at the end all of it, half-learnt openings too.
    pub(super) fn keep(&self, all: bool) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(learnt) = self.conversations.learnt(all) else { return };
        if let Err(error) = state::write_private(&self.file, &learnt) {
            self.conversations.not_kept();
            tracing::warn!(%error, "what examples agents bring as turns will be learnt anew after a restart");
        }
    }

    /// Keeps it from time to time until the proxy ends.
    pub(super) async fn run(self, ending: impl Future<Output = ()>) {
        let mut ending = std::pin::pin!(ending);
        while tokio::time::timeout(EVERY, &mut ending).await.is_err() {
            let this = self.clone();
            let _ = tokio::task::spawn_blocking(move || this.keep(false)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use understudy_call::{Credential, FormHash, Message, Request, Role};
    use understudy_tasks::HashKey;

    use super::*;

    /// Where a question after an example belongs.
    fn opening(conversations: &Conversations, question: u32) -> u16 {
        let turns = [(Role::User, "one"), (Role::Assistant, "1"), (Role::User, &*question.to_string())]
            .map(|(role, text)| Message::text_of(role, text));
        let request = Request { messages: turns.into(), ..Request::default() };
        conversations.of(Credential([1; 16]), FormHash([2; 16]), None, &request).opening
    }

    #[test]
    fn runs_of_a_few_calls_learn_together_and_what_is_no_such_file_is_learnt_anew() {
        let dir = tempfile::tempdir().unwrap();
        let run = |questions: std::ops::Range<u32>| {
            let conversations = Conversations::new(HashKey::new([3; 32]));
            let openings = Openings::of(dir.path(), conversations.clone());
            let last = questions.fold(0, |_, q| opening(&conversations, q));
            openings.keep(true);
            last
        };
        for n in 0..12 {
            assert_eq!(run(3 * n..3 * n + 3), 0, "{n}");
        }
        assert_eq!(run(36..40), 2);
        std::fs::write(dir.path().join("openings.json"), "{").unwrap();
        assert_eq!(run(45..60), 0);
    }
}
