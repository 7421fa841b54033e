//! A task's report as people read it: the same rows for a running proxy and
//! for a rehearsal.

#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;

use understudy_cast::Kind;
use understudy_policy::{Decision, EntryView, LedgerView, Stage, TaskId};
use understudy_rehearsal::TaskReport;
use understudy_rehearsal::worker::Arms;
use understudy_tasks::{Effect, Task, TaskBook};

use crate::admin::Refused;
use crate::admin::pages::{
    DecisionRow, EntryRow, Interval, SavingsPage, SavingsRow, StratumRow, TaskPage, TaskRow, UnderstudyRow,
};
use crate::config::{Price, Prices};
use waiting::{approval, is_left_out, waits_for};

/// Characters of a form that a page shows.
const FORM_SHOWN: usize = 400;

/// A task by its name, its id, or an unambiguous beginning of its id.
pub(super) fn find<'a>(reports: &'a [TaskReport], which: &str) -> Result<&'a TaskReport, Refused> {
    if let Some(named) = reports.iter().find(|r| r.name == which) {
        return Ok(named);
    }
    let hits: Vec<&TaskReport> = reports.iter().filter(|r| r.task.to_string().starts_with(which)).collect();
    match hits.as_slice() {
        [] => Err(Refused::NoSuchTask(which.to_owned())),
        [one] => Ok(one),
        many => {
            let names: Vec<&str> = many.iter().map(|r| r.name.as_str()).collect();
            Err(Refused::Ambiguous(which.to_owned(), names.join(", ")))
        }
    }
}

/// The entry that a task's line is about: the one that serves, else the open
/// one that takes most.
fn shown_entry(report: &TaskReport) -> Option<&EntryView> {
    report.evidence.service().or_else(|| {
        let open = report.evidence.entries.iter().filter(|e| e.closed.is_none());
        open.max_by(|a, b| a.coverage.total_cmp(&b.coverage))
    })
}

fn interval(mean: Option<f64>, ends: (f64, f64)) -> Option<Interval> {
    mean.map(|mean| Interval { mean, low: ends.0, high: ends.1 })
}

/// A task in one line.
pub(crate) fn row(report: &TaskReport, steps: usize, prices: &Prices) -> TaskRow {
    let view = &report.evidence;
    let entry = shown_entry(report);
    let tally = &report.tally;
    let mean = |(sum, n): (f64, u64)| (n > 0).then(|| sum / n as f64);
    let saved = saving(report, price(report, prices));
    TaskRow {
        id: report.task.to_string(),
        name: report.name.clone(),
        model: report.model.clone(),
        stage: view.stage.label().to_owned(),
        step: match view.stage {
            Stage::Canary { step } => Some((step + 1, u8::try_from(steps).unwrap_or(u8::MAX))),
            _ => None,
        },
        pinned: view.pinned,
        calls: tally.calls,
        conversations: entry.map_or(0, |e| e.conversations),
        repeats: tally.repeats,
        coverage: entry.map(|e| e.coverage),
        agreement: entry.and_then(|e| interval(e.agreement, e.interval)),
        entry: entry.map(|e| e.k),
        understudy: entry.map(|e| e.understudy.0.clone()),
        needed: entry.and_then(|e| e.calls_needed),
        waits_for: waits_for(report),
        served: tally.served,
        provider_ms: report.provider_p50_ms.or_else(|| mean(tally.provider_ms)),
        understudy_ms: report.understudy_p50_ms.or_else(|| mean(tally.understudy_ms)),
        saved_usd: saved.net_usd,
        saved_tokens: saved.input_tokens + saved.output_tokens,
        tau: view.tau,
        against: view.cusum.map(|value| (value / view.cusum_limit).min(1.0)),
        audited_agreement: view.service().and_then(|e| e.audits.agreement),
        audited_conversations: view.service().map(|e| e.audits.conversations),
    }
}

/// An entry's line.
fn entry_row(e: &EntryView, view: &LedgerView) -> EntryRow {
    let state = match (&e.closed, view.serving == Some(e.k), e.earned) {
        (Some(why), ..) => format!("closed: {}", words(why)),
        (None, false, Some(_)) if view.successor.is_some_and(|(k, ..)| k == e.k) => "successor".to_owned(),
        (None, true, _) => "serves".to_owned(),
        (None, false, Some(_)) => "earned".to_owned(),
        (None, false, None) => "open".to_owned(),
    };
    EntryRow {
        k: e.k,
        understudy: e.understudy.0.clone(),
        bar: e.bar,
        coverage: Some(e.coverage),
        agreement: interval(e.agreement, e.interval),
        conversations: e.conversations,
        // JSON has no infinity, and a long-lived entry gets there.
        wealth: e.log_wealth.exp().min(f64::MAX),
        threshold: e.log_threshold.exp(),
        state,
    }
}

/// A unit variant in the words that its serialised form has.
fn words<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " "))).unwrap_or_default()
}

/// A task in full; `tools` knows what its tools do.
pub(crate) fn page(
    report: &TaskReport,
    row: TaskRow,
    task: Option<&Task>,
    tools: &TaskBook,
    decisions: Vec<DecisionRow>,
) -> TaskPage {
    let form = task.map(|t| &t.form);
    let view = &report.evidence;
    let shown = shown_entry(report);
    TaskPage {
        row,
        form_hash: form.map(|f| f.hash.to_string()).unwrap_or_default(),
        shared: task.is_some_and(|t| t.credential.is_none()),
        form: form.map(|f| f.system.chars().take(FORM_SHOWN).collect()).unwrap_or_default(),
        tools: form
            .iter()
            .flat_map(|f| &f.tools)
            .map(|t| {
                let effect = if tools.effect(t) == Effect::Reads { "reads" } else { "acts" };
                (t.name.clone(), effect.to_owned())
            })
            .collect(),
        rules: BTreeMap::from([
            ("target agreement (τ)".to_owned(), view.tau.to_string()),
            ("permitted error (α)".to_owned(), view.alpha.to_string()),
            ("approval".to_owned(), approval(report).to_owned()),
            ("audit share now".to_owned(), view.audit_share.to_string()),
            ("who may answer".to_owned(), who_may_answer(view)),
        ]),
        entries: view.entries.iter().map(|e| entry_row(e, view)).collect(),
        strata: shown
            .iter()
            .flat_map(|e| &e.strata)
            .map(|s| StratumRow {
                stratum: s.name.clone(),
                conversations: u64::from(s.conversations),
                agreement: s.agreement,
                state: words(&s.standing),
            })
            .collect(),
        declined: report.tally.declined.clone(),
        baselines: baselines(report),
        cusum: view.cusum.map(|value| (value, view.cusum_limit)),
        decisions,
        understudies: understudies(report),
    }
}

/// A task's understudies side by side.
pub(crate) fn understudies(report: &TaskReport) -> Vec<UnderstudyRow> {
    let view = &report.evidence;
    let members = report.cast.iter().map(|(id, kind, made_of)| {
        let entry = view.entries.iter().rev().find(|e| e.understudy.0 == *id);
        let curve = view.curves.iter().find(|(u, _)| u.0 == *id).map(|(_, c)| c.as_slice());
        let development = view.development.iter().find(|(u, ..)| u.0 == *id);
        let adopted = report.adoptions.iter().find(|a| a.understudy.as_ref().is_some_and(|u| u.0 == *id));
        UnderstudyRow {
            name: id.clone(),
            kind: kind.clone(),
            made_of: made_of.clone(),
            development: development.map(|(_, done, needed)| (*done, *needed)),
            curve: curve.unwrap_or_default().iter().map(|p| (p.bar, p.coverage, p.agreement)).collect(),
            coverage: entry.map(|e| e.coverage),
            agreement: entry.and_then(|e| interval(e.agreement, e.interval)),
            state: match (entry, adopted) {
                _ if is_left_out(id, view) => "the policy leaves it out".to_owned(),
                (Some(e), _) => entry_row(e, view).state,
                (None, Some(a)) => a.reason.clone(),
                (None, None) => "in development".to_owned(),
            },
        }
    });
    let beside = report.adoptions.iter().filter(|a| a.understudy.is_none()).map(|a| UnderstudyRow {
        name: format!("adapter {}", a.adapter),
        kind: Kind::Specialised.label().to_owned(),
        made_of: format!("trained on {} exchanges", a.rows),
        state: a.reason.clone(),
        ..UnderstudyRow::default()
    });
    let coming = report.adopting.map(|(done, of)| UnderstudyRow {
        name: "adapter".to_owned(),
        kind: Kind::Specialised.label().to_owned(),
        state: match of {
            0 => "what it learnt is being read, or waits for the engine".to_owned(),
            _ => format!("answers its development rows: {done} of {of}"),
        },
        ..UnderstudyRow::default()
    });
    members.chain(beside).chain(coming).collect()
}

/// The baselines of the last fit: coverage, and agreement where they answered.
fn baselines(report: &TaskReport) -> Vec<(String, Option<f64>, Option<f64>)> {
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    let names = ["exact repeat", "nearest neighbour"];
    let measured = report.tally.baselines.iter().flatten();
    names
        .into_iter()
        .zip(measured)
        .map(|(name, m)| (name.to_owned(), share(m.answered, m.of), share(m.agreed, m.answered)))
        .collect()
}

fn who_may_answer(view: &LedgerView) -> String {
    if view.models.is_empty() { "every understudy".to_owned() } else { view.models.join(", ") }
}

/// A decision's line.
pub(crate) fn decision(d: &Decision, name: &str) -> DecisionRow {
    let stage = |s: Stage| match s {
        Stage::Canary { step } => format!("canary {}", step + 1),
        other => other.label().to_owned(),
    };
    DecisionRow {
        seq: d.seq,
        task: d.task.to_string(),
        name: name.to_owned(),
        from: stage(d.from),
        to: stage(d.to),
        why: d.why.label().to_owned(),
        understudy: d.understudy.as_ref().map(|u| u.0.clone()),
        by: d.by.clone(),
        numbers: d.numbers.clone(),
    }
}

/// Decisions with their tasks' names.
pub(crate) fn decisions(all: &[Decision], reports: &[TaskReport]) -> Vec<DecisionRow> {
    let name = |id: TaskId| reports.iter().find(|r| r.task == id).map_or("", |r| r.name.as_str());
    all.iter().map(|d| decision(d, name(d.task))).collect()
}

/// Conversations of the control group from which a comparison is worth showing.
const CONTROL_SHOWN: u64 = 20;

/// What the offered conversations would have cost at the control group's mean,
/// less what they did cost, with its interval (95 %, normal).
fn by_control(arms: &Arms, price: &Price) -> Option<(f64, f64, f64)> {
    let a_token = price.a_token();
    if arms.control.conversations < CONTROL_SHOWN {
        return None;
    }
    let (control, control_var) = arms.control.cost(a_token)?;
    let (offered, offered_var) = arms.offered.cost(a_token)?;
    let n = arms.offered.conversations as f64;
    let (saved, half) = ((control - offered) * n, 1.96 * (control_var + offered_var).sqrt() * n);
    Some((saved, saved - half, saved + half))
}

/// What a call of the task costs, at its own provider.
fn price<'p>(report: &TaskReport, prices: &'p Prices) -> Option<&'p Price> {
    prices.find(&report.provider, &report.model)
}

/// What one task saved: served calls at the task's mean captured price with its
/// cached share, less audits.
fn saving(report: &TaskReport, price: Option<&Price>) -> SavingsRow {
    let t = &report.tally;
    let [input, cached, output] = t.tokens;
    let paid_usd = price.map(|p| p.of(input, cached, output));
    let mean_usd = paid_usd.filter(|_| t.paid > 0).map(|p| p / t.paid as f64);
    let gross_usd = mean_usd.map(|m| m * t.served as f64);
    // Served and paid for as well. A rehearsal judges every call, and pays for none
    // beside these.
    let audited = t.served.saturating_sub(t.calls.saturating_sub(t.paid));
    let audits_usd = mean_usd.map(|m| m * audited as f64);
    let mean_tokens = |i: usize| {
        let sum = t.tokens.get(i).copied().unwrap_or(0);
        sum.checked_div(t.paid).unwrap_or(0) * t.served.saturating_sub(audited)
    };
    SavingsRow {
        task: report.task.to_string(),
        name: report.name.clone(),
        model: report.model.clone(),
        calls: t.calls,
        served: t.served,
        audited,
        input_tokens: mean_tokens(0),
        output_tokens: mean_tokens(2),
        paid_usd,
        gross_usd,
        audits_usd,
        net_usd: gross_usd.zip(audits_usd).map(|(g, a)| g - a),
        by_control_usd: price.and_then(|p| by_control(&t.arms, p)),
    }
}

/// What was saved.
pub(crate) fn savings(reports: &[TaskReport], prices: &Prices) -> SavingsPage {
    let mut dated: Vec<String> =
        reports.iter().filter_map(|r| price(r, prices)).map(|p| p.dated.clone()).collect();
    dated.sort();
    dated.dedup();
    SavingsPage { tasks: reports.iter().map(|r| saving(r, price(r, prices))).collect(), prices_dated: dated }
}
