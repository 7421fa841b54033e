//! A task's exchanges for those who make training sets of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use understudy_call::{AnsweredBy, Exchange, ExchangeId};
use understudy_capture::{GapWhy, Journal, Record};
use understudy_curriculum::Permission;
use understudy_tasks::Task;

use crate::admin::Refused;
use crate::admin::curriculum::ExchangesPage;
use crate::config::Config;

/// Bytes of exchanges on a page: some hundred calls with a long system text.
const PAGE_BYTES: usize = 4 << 20;

/// Records that are looked at for a page, so that one of a rare task comes in time.
const PAGE_RECORDS: usize = 20_000;

/// How long an id is looked for: less than whoever asks waits for an answer.
const LOOKS_FOR: Duration = Duration::from_secs(20);

/// Who permitted training on which provider's replies.
pub(crate) fn permitted(config: &Config) -> BTreeMap<String, Permission> {
    let changed = config.file.as_ref().and_then(|f| f.metadata().ok()?.modified().ok());
    let at =
        humantime::format_rfc3339_seconds(changed.unwrap_or_else(std::time::SystemTime::now)).to_string();
    let place =
        config.file.as_ref().map_or_else(|| "the environment".to_owned(), |f| f.display().to_string());
    let permission = |(name, terms): (&String, &Option<String>)| {
        let unsaid = || format!("not written down: providers.{name}.train_terms is for that");
        let permission = Permission {
            by: format!("providers.{name}.train in {place}"),
            at: at.clone(),
            terms: terms.clone().unwrap_or_else(unsaid),
        };
        (name.clone(), permission)
    };
    config.train.iter().map(permission).collect()
}

/// Writes to the audit log.
pub(crate) fn note(journal: &Journal, kind: &str, json: Value) -> Result<(), Refused> {
    let note = Record::Note { kind: kind.to_owned(), json };
    journal
        .append(vec![note])
        .map(|_| ())
        .map_err(|e| Refused::Off(format!("the audit log cannot be written, so nothing is given out: {e}")))
}

/// Refuses ids that no recorded call has: a slip of the pen would leave the call that was
/// meant in every training set. The latest calls are looked at first, since those are the
/// ones that people see, and a journal that takes too long is not read to its beginning.
pub(super) fn are_recorded(journal: &Journal, mut wanted: BTreeSet<ExchangeId>) -> Result<(), Refused> {
    let failed = |e: &dyn std::fmt::Display| Refused::Off(format!("the journal cannot be read: {e}"));
    let (oldest, began) = (journal.oldest_seq().unwrap_or(0), Instant::now());
    let mut end = journal.durable_seq().saturating_add(1);
    while !wanted.is_empty() && end > oldest && began.elapsed() < LOOKS_FOR {
        let from = end.saturating_sub(PAGE_RECORDS as u64).max(oldest);
        let mut cursor = journal.cursor(from);
        while let Some((seq, record)) = cursor.next().map_err(|e| failed(&e))? {
            if seq >= end || wanted.is_empty() {
                break;
            }
            if let Record::Exchange(exchange) = record {
                wanted.remove(&exchange.id);
            }
        }
        end = from;
    }
    match wanted.first() {
        Some(id) if end <= oldest => Err(Refused::NotNow(format!(
            "no recorded call has the id {id}, so nothing was flagged; `journal tail` shows the latest"
        ))),
        _ => Ok(()),
    }
}

/// A page of the task's exchanges from this place on.
pub(super) fn page(journal: &Journal, task: &Task, from: u64, by: &str) -> Result<ExchangesPage, Refused> {
    note(journal, "read", json!({ "by": by, "task": task.id, "from": from, "for": "curate" }))?;
    let failed = |e: &dyn std::fmt::Display| Refused::Off(format!("the journal cannot be read: {e}"));
    let mut cursor = journal.cursor(from.max(journal.oldest_seq().unwrap_or(0)));
    let mut page = ExchangesPage { rows: Vec::new(), next: None, lost: 0 };
    let (mut bytes, mut records) = (0, 0);
    while let Some((seq, record)) = cursor.next().map_err(|e| failed(&e))? {
        if let Record::Exchange(exchange) = record
            && let Some(shown) = shown(task, exchange)
        {
            let row = serde_json::value::to_raw_value(&shown).map_err(|e| failed(&e))?;
            bytes += row.get().len();
            page.rows.push((seq, row));
        }
        records += 1;
        if bytes >= PAGE_BYTES || records >= PAGE_RECORDS {
            page.next = Some(cursor.position());
            break;
        }
    }
    let gaps = cursor.gaps().iter().filter(|g| g.why != GapWhy::Retired);
    page.lost = gaps.map(|g| g.to + 1 - g.from).sum();
    Ok(page)
}

/// An exchange of the task as it is; of another what tells that an understudy
/// answered in its conversation, and nothing else.
fn shown(task: &Task, mut exchange: Exchange) -> Option<Exchange> {
    let meta = &exchange.meta;
    let own = meta.form == Some(task.form.hash) && task.credential.is_none_or(|c| c == meta.credential);
    if own {
        return Some(exchange);
    }
    let understudy =
        matches!(meta.answered_by, AnsweredBy::Understudy(_)) || exchange.understudy_reply.is_some();
    if !understudy || meta.conversation.is_none() {
        return None;
    }
    exchange.request = None;
    exchange.reply = None;
    // An empty one still says that there was one.
    exchange.understudy_reply = exchange.understudy_reply.map(|_| understudy_call::Reply::default());
    exchange.meta.headers.clear();
    exchange.meta.explicit_conversation = None;
    Some(exchange)
}
