//! What the admin API shows of a running proxy.

mod counts;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::watch;
use understudy_call::ExchangeId;
use understudy_capture::{Journal, Record};
use understudy_curriculum::Permission;

use understudy_policy::Roster;
use understudy_rehearsal::TaskReport;
use understudy_tasks::{Task, TaskBook};

use super::flags::Flags;
use super::recording::Recording;
use super::rows::find;
use super::snapshot::Snapshot;
use super::worker::{Orders, Worker};
use super::{lessons, records, rows, worker};
use crate::admin::curriculum::{CurriculumPage, ExchangesPage};
use crate::admin::flags::{Flag, Flagged, Flagging};
use crate::admin::pages::{
    Acted, DecisionRow, ExportPage, JournalPage, SavingsPage, Status, Stopped, TaskPage, TaskRow,
};
use crate::admin::{Backstage, Order, Refused};
use crate::config::{Config, Prices};
use crate::engine_child::{Health, Supervised};

use crate::specialise;
use crate::state;

/// The running proxy, seen from behind.
pub(crate) struct Wings {
    born: Instant,
    listen: Vec<SocketAddr>,
    state: PathBuf,
    folder: PathBuf,
    journal: Result<Journal, String>,
    engine: Option<(watch::Receiver<Health>, Arc<std::sync::Mutex<crate::engine_child::Counts>>)>,
    engine_off: String,
    worker: Option<(Arc<ArcSwap<Snapshot>>, Orders)>,
    prices: Prices,
    permitted: BTreeMap<String, Permission>,
    steps: usize,
    /// Knows what tools do.
    tools: TaskBook,
    flags: Flags,
    roster: Arc<ArcSwap<Roster>>,
    stopped: Arc<AtomicBool>,
}

impl Wings {
    pub(crate) fn new(
        config: &Config,
        listen: &[SocketAddr],
        recording: &Recording,
        engine: Option<&Supervised>,
        worker: Option<&Worker>,
        roster: Arc<ArcSwap<Roster>>,
        stopped: Arc<AtomicBool>,
    ) -> Self {
        let engine_off = match (&config.engine.address, config.engine.enabled) {
            (Some(url), _) => format!("elsewhere: {url}"),
            (None, false) => "off: engine.enabled is false".to_owned(),
            (None, true) => "off: there is no model; `understudy model pull` fetches one".to_owned(),
        };
        Self {
            born: Instant::now(),
            listen: listen.to_vec(),
            state: config.state.clone(),
            folder: config.capture.journal.dir.clone(),
            journal: recording.journal().cloned().map_err(str::to_owned),
            engine: engine.map(|e| (e.health(), e.counts())),
            engine_off,
            worker: worker.map(|w| (w.shown(), w.orders())),
            prices: config.prices.clone(),
            permitted: lessons::permitted(config),
            steps: config.policy.steps.len(),
            tools: worker::book(config),
            flags: Flags::open(&config.state),
            roster,
            stopped,
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.worker.as_ref().map(|(shown, _)| shown.load_full()).unwrap_or_default()
    }

    fn row(&self, report: &TaskReport) -> TaskRow {
        rows::row(report, self.steps, &self.prices)
    }

    /// A task with the journal that its calls are in.
    fn taught(&self, which: &str) -> Result<(Task, &Journal), Refused> {
        let journal = records::recorded(&self.journal)?;
        let shown = self.snapshot();
        let id = find(&shown.reports, which)?.task;
        let task = shown.tasks.iter().find(|t| t.id == id).cloned();
        Ok((task.ok_or_else(|| Refused::NoSuchTask(which.to_owned()))?, journal))
    }

    fn roster_stopped(&self, stop: bool) -> u64 {
        self.stopped.store(stop, Ordering::Release);
        let mut version = 0;
        self.roster.rcu(|now| {
            let mut next = Roster::clone(now);
            next.stopped = stop;
            next.version += 1;
            version = next.version;
            next
        });
        version
    }
}

impl Backstage for Wings {
    fn status(&self) -> Status {
        let worker = self.worker.as_ref().map(|(shown, _)| shown.load_full());
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            up_seconds: self.born.elapsed().as_secs(),
            listen: self.listen.iter().map(ToString::to_string).collect(),
            stopped: self.stopped.load(Ordering::Acquire),
            capture: self
                .journal
                .as_ref()
                .map_or_else(|why| format!("off: {why}"), |_| "recording".to_owned()),
            engine: self.engine.as_ref().map_or_else(|| self.engine_off.clone(), |(h, _)| h.borrow().line()),
            worker: worker.as_ref().map_or_else(|| "off".to_owned(), |w| w.line.clone()),
            worker_away: worker.is_some_and(|w| w.away),
        }
    }

    fn tasks(&self) -> Vec<TaskRow> {
        self.snapshot().reports.iter().map(|r| self.row(r)).collect()
    }

    fn task(&self, which: &str) -> Result<TaskPage, Refused> {
        let shown = self.snapshot();
        let report = find(&shown.reports, which)?;
        let task = shown.tasks.iter().find(|t| t.id == report.task);
        let decisions = shown.decisions.iter().filter(|d| d.task == report.task);
        let decisions = decisions.map(|d| rows::decision(d, &report.name)).collect();
        Ok(rows::page(report, self.row(report), task, &self.tools, decisions))
    }

    fn act(&self, which: &str, order: Order, by: &str) -> Result<Acted, Refused> {
        let (shown, orders) = self.worker.as_ref().ok_or_else(|| {
            Refused::Off("nobody rehearses: worker.enabled is false, or nothing is recorded".to_owned())
        })?;
        let id = find(&shown.load().reports, which)?.task.to_string();
        let said = match &order {
            Order::Approve => "approved".to_owned(),
            Order::Promote => "moved up against the evidence".to_owned(),
            Order::Demote => "moved back to shadowing".to_owned(),
            Order::Pin(true) => "kept at its stage".to_owned(),
            Order::Pin(false) => "freed".to_owned(),
            Order::Name(name) => format!("named {name}"),
            Order::Adopt(adapter) => format!("adapter {adapter} answers its development rows"),
        };
        let name = orders.give(&id, order, by).map_err(Refused::NotNow)?;
        let stage =
            find(&shown.load().reports, &id).map(|r| r.evidence.stage.label().to_owned()).unwrap_or_default();
        Ok(Acted { task: id, name, stage, said })
    }

    fn decisions(&self, last: usize) -> Vec<DecisionRow> {
        let shown = self.snapshot();
        let from = shown.decisions.len().saturating_sub(last);
        rows::decisions(shown.decisions.get(from..).unwrap_or_default(), &shown.reports)
    }

    fn savings(&self) -> SavingsPage {
        rows::savings(&self.snapshot().reports, &self.prices)
    }

    fn journal(&self) -> JournalPage {
        records::page(&self.journal, &self.folder)
    }

    fn tail(&self, last: usize) -> Result<Vec<Value>, Refused> {
        records::tail(records::recorded(&self.journal)?, last)
    }

    fn export(&self, from: u64, limit: usize, by: &str) -> Result<ExportPage, Refused> {
        let journal = records::recorded(&self.journal)?;
        lessons::note(journal, "read", json!({ "by": by, "from": from, "limit": limit }))?;
        records::exported(journal, from, limit)
    }

    fn curriculum(&self, which: &str) -> Result<CurriculumPage, Refused> {
        let (task, journal) = self.taught(which)?;
        let least_coverage = specialise::least_coverage(find(&self.snapshot().reports, which)?);
        Ok(CurriculumPage {
            task,
            least_coverage,
            permitted: self.permitted.clone(),
            flagged: self.flags.all()?.into_iter().map(|f| f.exchange).collect(),
            redacted_share: journal.stats().redacted_share(),
            durable: journal.durable_seq(),
        })
    }

    fn exchanges(&self, which: &str, from: u64, by: &str) -> Result<ExchangesPage, Refused> {
        let (task, journal) = self.taught(which)?;
        lessons::page(journal, &task, from, by)
    }

    fn curated(&self, which: &str, by: &str, what: Value) -> Result<(), Refused> {
        let (task, journal) = self.taught(which)?;
        lessons::note(journal, "curated", json!({ "task": task.id, "by": by, "what": what }))
    }

    fn flags(&self) -> Result<Vec<Flag>, Refused> {
        self.flags.all()
    }

    fn flag(&self, flagging: Flagging) -> Result<Flagged, Refused> {
        let journal = records::recorded(&self.journal)?;
        let at = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        if !flagging.away {
            let known = self.flags.all()?;
            let new = flagging.exchanges.iter().filter(|e| known.iter().all(|f| f.exchange != **e));
            lessons::are_recorded(journal, new.copied().collect())?;
        }
        let flag = |exchange: &ExchangeId| Flag {
            exchange: *exchange,
            by: flagging.by.clone(),
            why: flagging.why.clone(),
            at: at.clone(),
        };
        lessons::note(journal, "flagged", json!(&flagging))?;
        let flags = flagging.exchanges.iter().map(flag).collect();
        Ok(Flagged { flagged: self.flags.change(flags, flagging.away)? })
    }

    fn stop_serving(&self, stop: bool, by: &str) -> Stopped {
        let roster_version = self.roster_stopped(stop);
        if let Err(error) = state::set_stopped(&self.state, stop) {
            tracing::error!(%error, "the kill switch holds until the process ends; its position could not be kept");
        }
        if let Ok(journal) = &self.journal {
            let note =
                Record::Note { kind: "stop_serving".to_owned(), json: json!({ "stopped": stop, "by": by }) };
            if let Err(error) = journal.append(vec![note]) {
                tracing::warn!(%error, "the kill switch could not be recorded");
            }
        }
        tracing::warn!(stopped = stop, by, "the kill switch was moved");
        Stopped { stopped: stop, roster_version }
    }
}
