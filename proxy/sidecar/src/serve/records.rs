//! The journal as people read it: its state, and records without their content.

use serde_json::{Value, json};
use understudy_capture::{Journal, Record};

use crate::admin::pages::JournalPage;

/// The journal's page.
pub(super) fn page(journal: &Result<Journal, String>, folder: &std::path::Path) -> JournalPage {
    let folder = folder.display().to_string();
    match journal {
        Err(why) => JournalPage { state: format!("not recording: {why}"), folder, ..JournalPage::default() },
        Ok(journal) => {
            let s = journal.stats();
            JournalPage {
                state: "recording".to_owned(),
                folder,
                volumes: s.volumes,
                bytes: s.bytes,
                durable: s.durable_seq,
                records: s.records,
                set_aside: s.set_aside,
                queued_bytes: s.queued_bytes,
                drops: journal.drops().into_iter().map(|(why, n)| (why.label().to_owned(), n)).collect(),
                redacted_share: s.redacted_share(),
            }
        }
    }
}

/// A record in a line, without what was said in it.
pub(super) fn without_content(seq: u64, record: &Record) -> Value {
    match record {
        Record::Exchange(e) => json!({ "seq": seq, "kind": record.label(), "id": e.id, "meta": e.meta }),
        Record::Note { kind, .. } => json!({ "seq": seq, "kind": record.label(), "about": kind }),
        Record::Checkpoint(_) => json!({ "seq": seq, "kind": record.label() }),
        Record::Trial(t) => json!({ "seq": seq, "kind": record.label(), "trial": t }),
        Record::Decision(d) => json!({ "seq": seq, "kind": record.label(), "decision": d }),
        Record::EntryOpened(e) => json!({ "seq": seq, "kind": record.label(), "entry": e }),
    }
}
