//! The journal as people read it: its state, and records without their content.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use understudy_call::Exchange;
use understudy_capture::{GapWhy, Journal, JournalError, Record};

use crate::admin::Refused;
use crate::admin::pages::{ExportPage, JournalPage, TAIL};
use crate::failure::with_sources;

/// Bytes of exchanges on a page: one may have megabytes, and the page is held whole.
const PAGE_BYTES: usize = 4 << 20;

/// Records that are looked at for a page of exchanges, so that it comes in time
/// where between two of them there are many trials.
const PAGE_RECORDS: usize = 20_000;

/// The journal, or that nothing is recorded, and why.
pub(super) fn recorded(journal: &Result<Journal, String>) -> Result<&Journal, Refused> {
    journal.as_ref().map_err(|why| Refused::Off(format!("nothing is recorded: {why}")))
}

fn unreadable(error: &JournalError) -> Refused {
    Refused::Off(format!("the journal cannot be read: {}", with_sources(error)))
}

/// The latest records, [`TAIL`] at most, without what was said in them.
pub(super) fn tail(journal: &Journal, last: usize) -> Result<Vec<Value>, Refused> {
    let last = last.min(TAIL);
    let from = journal.durable_seq().saturating_sub(last as u64).saturating_add(1);
    let mut cursor = journal.cursor(from);
    let mut rows = Vec::new();
    while let Some((seq, record)) = cursor.next().map_err(|e| unreadable(&e))? {
        rows.push(without_content(seq, &record));
    }
    Ok(rows.split_off(rows.len().saturating_sub(last)))
}

/// An exchange as it is exported.
#[derive(Serialize)]
struct Row<'a> {
    seq: u64,
    exchange: &'a Exchange,
}

/// Exchanges with their content, from this number on.
pub(super) fn exported(journal: &Journal, from: u64, limit: usize) -> Result<ExportPage, Refused> {
    let end = journal.durable_seq();
    // Not from the oldest volume on: one that was moved aside may have been before it.
    let mut cursor = journal.cursor(from);
    let mut page = ExportPage::default();
    let (mut bytes, mut records) = (0, 0);
    loop {
        match cursor.next().map_err(|e| unreadable(&e))? {
            Some((seq, Record::Exchange(exchange))) => {
                let row = to_raw_value(&Row { seq, exchange: &exchange })
                    .map_err(|e| Refused::Off(format!("record {seq} cannot be written as JSON: {e}")))?;
                bytes += row.get().len();
                page.rows.push(row);
            }
            Some(_) => {}
            // The newest volume failed under the cursor, and the writer is about to see it.
            None if cursor.position() <= end => {
                return Err(Refused::NotNow(format!(
                    "the journal cannot be read beyond record {}: its newest volume failed and is being replaced",
                    cursor.position()
                )));
            }
            None => break,
        }
        records += 1;
        if page.rows.len() >= limit || bytes >= PAGE_BYTES || records >= PAGE_RECORDS {
            page.next = Some(cursor.position());
            break;
        }
    }
    let gaps = cursor.gaps().iter().filter(|g| g.why != GapWhy::Retired);
    page.lost = gaps.map(|g| g.to + 1 - g.from).sum();
    Ok(page)
}

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
fn without_content(seq: u64, record: &Record) -> Value {
    match record {
        Record::Exchange(e) => json!({ "seq": seq, "kind": record.label(), "id": e.id, "meta": e.meta }),
        Record::Note { kind, .. } => json!({ "seq": seq, "kind": record.label(), "about": kind }),
        Record::Checkpoint(_) => json!({ "seq": seq, "kind": record.label() }),
        Record::Trial(t) => json!({ "seq": seq, "kind": record.label(), "trial": t }),
        Record::Decision(d) => json!({ "seq": seq, "kind": record.label(), "decision": d }),
        Record::EntryOpened(e) => json!({ "seq": seq, "kind": record.label(), "entry": e }),
    }
}
