//! From the gateway's seam to the journal. Without a key, or with a journal
//! that does not open, nothing is recorded, and calls flow.

use std::sync::Arc;

use understudy_call::{Dialect, Request};
use understudy_capture::{Captured, FileKey, Hooks, Journal, KeyVault, Offered};
use understudy_gateway::{Recorded, Recorder};
use understudy_tasks::{Conversations, HashKey, fingerprint};

use crate::config::Config;
use crate::failure::with_sources;
use crate::telemetry::spans::Told;
use crate::telemetry::{Outward, own};

/// The journal, or why there is none.
pub(crate) struct Recording {
    journal: Result<Journal, String>,
    conversations: Conversations,
    outward: Option<Outward>,
}

impl Recording {
    /// Opens what can be opened.
    pub(crate) fn open(config: &Config, outward: Option<Outward>) -> Self {
        // Where nothing is recorded none is made: the state folder may be another's.
        let key = if config.capture.enabled {
            FileKey::for_journals(&config.key_file, &[config.capture.journal.dir.as_path()])
        } else {
            FileKey::open(&config.key_file)
        };
        let hash_key = match &key {
            Ok(key) => HashKey::new(key.hash_key()),
            // Credentials still have to be told apart within this process.
            Err(_) => HashKey::new(*blake3::hash(crate::admin::new_token().as_bytes()).as_bytes()),
        };
        let conversations = Conversations::new(hash_key);
        let opening = own::open_journal();
        let journal = if config.capture.enabled {
            let _within = opening.enter();
            key.map_err(|e| with_sources(&e)).and_then(|key| {
                Journal::open(config.capture.journal.clone(), Arc::new(key), hooks(&conversations))
                    .map_err(|e| with_sources(&e))
            })
        } else {
            let why = if config.capture.without_state {
                "the state folder cannot be had"
            } else {
                "capture.enabled is false"
            };
            Err(why.to_owned())
        };
        match &journal {
            Ok(_) => {}
            // As it was configured: no failure.
            Err(why) if !config.capture.enabled => tracing::info!(why, "nothing is recorded; calls flow"),
            Err(why) => {
                own::failed(&opening);
                tracing::warn!(why, "nothing is recorded, and nobody rehearses; calls flow");
            }
        }
        Self { journal, conversations, outward }
    }

    /// The journal, if there is one.
    pub(crate) fn journal(&self) -> Result<&Journal, &str> {
        self.journal.as_ref().map_err(String::as_str)
    }

    /// The key of all hashes.
    pub(crate) fn hash_key(&self) -> HashKey {
        self.conversations.key().clone()
    }

    /// What names conversations, here and in the gateway.
    pub(crate) fn conversations(&self) -> Conversations {
        self.conversations.clone()
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        match &self.journal {
            Ok(_) => "recording".to_owned(),
            Err(why) => format!("not recording: {why}"),
        }
    }

    /// The gateway's seam.
    pub(crate) fn recorder(&self) -> Option<Arc<dyn Recorder>> {
        let journal = self.journal.as_ref().ok().cloned();
        if journal.is_none() && self.outward.is_none() {
            return None;
        }
        Some(Arc::new(Bridge { journal, outward: self.outward.clone() }))
    }

    /// Writes what waits, and lets go.
    pub(crate) fn close(self) {
        if let Ok(journal) = &self.journal {
            own::close_journal().in_scope(|| journal.close());
        }
    }
}

struct Bridge {
    journal: Option<Journal>,
    outward: Option<Outward>,
}

impl Recorder for Bridge {
    fn offer(&self, call: Recorded) -> bool {
        if let Some(outward) = self.outward.as_ref().filter(|_| call.meta.dialect == Dialect::OpenaiChat) {
            outward.tell(Told::Bodies(Box::new(call.clone())));
        }
        let Some(journal) = &self.journal else { return true };
        let taken = journal.offer(Captured {
            id: call.id,
            meta: call.meta,
            request: call.request,
            reply: call.reply,
            reply_content_type: call.reply_content_type,
            reply_encoding: call.reply_encoding,
            understudy_reply: call.understudy_reply,
        });
        matches!(taken, Offered::Taken)
    }
}

/// What the journal's writer asks about a raw call.
pub(crate) fn hooks(conversations: &Conversations) -> Hooks {
    let conversations = conversations.clone();
    Hooks {
        fingerprint: Arc::new(move |dialect, request: &Request, credential, explicit| {
            conversations.of(credential, fingerprint(dialect, request), explicit, request)
        }),
        audit: Arc::new(audit),
    }
}

/// An audit counts as a trial does: 1 where the replies agree. A near miss is a miss.
fn audit(request: &Request, provider: &understudy_call::Reply, understudy: &understudy_call::Reply) -> f64 {
    let score = understudy_rehearsal::score::compare(request, provider, understudy);
    if score.agrees { 1.0 } else { score.value.min(0.999) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_records_nothing_makes_no_key_and_goes_by_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("[state]\ndir = {:?}\n[capture]\nenabled = false\n", dir.path());
        let config = crate::config::parse(&text, None, []).unwrap();
        let without = Recording::open(&config, None);
        assert_eq!(without.line(), "not recording: capture.enabled is false");
        assert!(!config.key_file.exists());
        let key = FileKey::open_or_create(&config.key_file).unwrap();
        let with = Recording::open(&config, None);
        let hash = |key: HashKey| key.call(b"a body");
        assert_eq!(hash(with.hash_key()), hash(HashKey::new(key.hash_key())));
        assert_ne!(hash(with.hash_key()), hash(without.hash_key()));
    }
}
