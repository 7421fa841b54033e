//! Seals exchanges into the journal and reads them back.
//!
//! The gateway *offers* what it saw of a call and goes on; a thread of low
//! priority does the rest:
//!
//! 1. **take** ([`Journal::offer`]): count the bytes, put the call in the queue, or
//!    refuse by name ([`DropReason`]). It never waits and never wakes anybody.
//! 2. **read** (`journal/intake.rs`): the raw bodies become a request and a reply;
//!    the form, the conversation and an audit's score are taken from the raw pair.
//! 3. **redact** ([`redact`]): personal data becomes stand-ins that keep its form. A
//!    reply with one of its own is marked ([`understudy_call::StandIns`]): nobody may
//!    learn to say it.
//! 4. **seal** (`seal.rs`): compress, then AES-256-GCM with the volume's name and the
//!    sequence number as associated data.
//! 5. **append** (`volume.rs`): into a small sled database, in values of at most 6 KiB:
//!    small records of one commit together (`volume/pack.rs`), large ones cut into frames.
//! 6. **commit** (`journal/writer.rs`): sled's flush, `fdatasync` of its file, then
//!    the new durable sequence number is told.
//!
//! The journal is a row of *volumes* (`volume/shelf.rs`). A volume that does not
//! open is moved aside and a new one begins; what was in it is a gap that every
//! [`Cursor`] reports. Sequence numbers have no holes, so a lost, cut or swapped
//! record is always seen: no other record opens under its number.
//!
//! On disk, under [`JournalConfig::dir`]:
//!
//! | path | what |
//! | --- | --- |
//! | `lock` | the owner's process id, locked while it lives |
//! | `head` | the last durable sequence number, and the one below which volumes were dropped, with a keyed check |
//! | `volumes/<first seq>-<random>/` | a sled database |
//! | `keys/<volume>` | its wrapped data keys: a copy of a volume does not carry them |
//! | `aside/<volume>/` | volumes that did not open |
//!
//! Only this crate uses sled.

mod config;
mod cursor;
mod encoding;
mod error;
mod journal;
mod keys;
mod record;
pub mod redact;
mod seal;
mod stats;
mod volume;

pub use config::JournalConfig;
pub use cursor::{Cursor, Gap, GapWhy};
pub use encoding::plain;
pub use error::{JournalError, KeyError};
pub use journal::{Journal, bench, is_locked, is_owned};
pub use keys::{FileKey, KeyVault};
pub use record::{AuditScore, Captured, Fingerprint, Hooks, Offered, Record};
pub use stats::{DropReason, Stats};
