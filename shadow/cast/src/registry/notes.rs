//! Versions as notes of the journal, so that a restart has the same cast.

use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::{Value, json};
use understudy_call::UnderstudyId;
use understudy_policy::TaskId;

use super::{Cast, Keeps, Kind};
use crate::error::CastError;
use crate::head::HeadSnapshot;
use crate::prompted::PromptedSnapshot;
use crate::specialised::SpecialisedSnapshot;

impl Cast {
    /// A version as a note of [`super::NOTE_KIND`]; `None` for one that is not known or was published from elsewhere.
    #[must_use]
    pub fn to_note(&self, id: &UnderstudyId) -> Option<Value> {
        let member = self.members.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()?;
        let snapshot = match &member.keeps {
            Keeps::Head(head) => serde_json::to_value(head.snapshot()).ok()?,
            Keeps::Prompted(prompted) => serde_json::to_value(prompted.snapshot()).ok()?,
            Keeps::Specialised(made) => serde_json::to_value(made.snapshot()).ok()?,
            Keeps::Remote(name) => {
                json!({ "task": member.shown.task, "name": name, "born_seq": member.shown.born_seq })
            }
            Keeps::Nothing => return None,
        };
        Some(json!({ "id": id, "kind": member.shown.kind, "snapshot": snapshot }))
    }

    /// Takes a version back from its note, after a restart.
    ///
    /// # Errors
    /// A note that cannot be read, that does not hash to its name, or whose
    /// remote is not configured any more: the version is gone.
    pub fn from_note(&self, note: &Value) -> Result<UnderstudyId, CastError> {
        #[derive(Deserialize)]
        struct Named {
            id: UnderstudyId,
            kind: Kind,
        }
        #[derive(Deserialize)]
        struct OfRemote {
            task: TaskId,
            name: String,
            born_seq: u64,
        }
        let Named { id, kind } = Named::deserialize(note)?;
        let snapshot = note.get("snapshot").unwrap_or(&Value::Null);
        let damaged =
            |found: &UnderstudyId| CastError::Damaged { named: id.0.clone(), found: found.0.clone() };
        let taken = match kind {
            Kind::Head => {
                let s = HeadSnapshot::deserialize(snapshot)?;
                let found = s.id();
                if found != id {
                    return Err(damaged(&found));
                }
                self.take_head(s)
            }
            Kind::Prompted => {
                let s = PromptedSnapshot::deserialize(snapshot)?;
                let found = s.id();
                if found != id {
                    return Err(damaged(&found));
                }
                self.take_prompted(s)
            }
            Kind::Remote => {
                let of = OfRemote::deserialize(snapshot)?;
                let config = self.config.remotes.iter().find(|r| r.name == of.name);
                let config = config.ok_or_else(|| CastError::NoRemote(of.name.clone()))?;
                self.take_remote(of.task, config, of.born_seq)
            }
            Kind::Specialised => {
                let s = SpecialisedSnapshot::deserialize(snapshot)?;
                let found = s.id();
                if found != id {
                    return Err(damaged(&found));
                }
                self.take_specialised(s)
            }
        };
        match taken {
            Some(found) if found == id => Ok(id),
            // A remote whose address or model changed is another version.
            Some(found) => {
                self.retire(&found);
                Err(damaged(&found))
            }
            None => Err(CastError::Unknown(id.0)),
        }
    }
}
