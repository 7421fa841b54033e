//! The report for a terminal.

use comfy_table::Cell;
use understudy_curriculum::{Report, Split};

use super::Told;
use crate::tables::{percent, right, table};

/// Classes that are listed; the JSON has all.
const CLASSES: usize = 20;

/// The report.
pub(super) fn report(told: &Told<'_>) -> String {
    let r = told.report;
    let mut out = format!("{} ({}): {} exchanges in, {} rows out\n", r.name, r.task, r.exchanges, r.rows);
    for (split, of) in [
        (Split::Train, ""),
        (Split::Development, ", for stopping and for the bar"),
        (Split::Held, ", kept unseen until the end"),
    ] {
        let size = r.split(split);
        out.push_str(&format!(
            "  {:<12} {} rows of {} conversations, standing for {} exchanges{of}\n",
            split.label(),
            size.rows,
            size.conversations,
            size.stands_for
        ));
    }
    if !r.dropped.is_empty() {
        out.push_str(&format!("{}\n", left_out(r)));
    }
    if !r.classes.is_empty() {
        out.push_str(&format!("{}\n", classes(r)));
    }
    let c = r.conflicts;
    out.push_str(&format!(
        "  conflicts    {} training questions had several replies; {} by a clear majority, {} left out\n",
        c.questions,
        c.resolved,
        c.questions.saturating_sub(c.resolved)
    ));
    let chars = r.characters;
    out.push_str(&format!(
        "  characters   {} of parts, {} of replies; a row has {} in the middle, {} at most\n",
        chars.parts, chars.replies, chars.median, chars.longest
    ));
    if let Some((script, share)) = &r.script {
        out.push_str(&format!("  script       {script}, {} of letters\n", percent(Some(*share))));
    }
    if let Some((language, share)) = &r.language {
        let share = percent(Some(*share));
        out.push_str(&format!("  language     {language}, {share} of the training rows that tell theirs\n"));
    }
    for (name, (calls, permission)) in &r.providers {
        let word = match permission {
            Some(p) => format!("permitted by {} ({}); terms: {}", p.by, p.at, p.terms),
            None => "not permitted".to_owned(),
        };
        out.push_str(&format!("  provider     {name}, {calls} exchanges: {word}\n"));
    }
    out.push_str(&format!("  people       {}\n", told.personal_data));
    for note in &r.notes {
        out.push_str(&format!("  note         {note}\n"));
    }
    out.push_str(&format!("  rows' hash   {}\n", told.data_sha256));
    out
}

fn left_out(r: &Report) -> comfy_table::Table {
    let mut t = table(&["left out", "exchanges", "share", "why", "for example"]);
    for d in &r.dropped {
        let sample = d.samples.first().map(|s| format!("{} → {}", s.asked, s.answered)).unwrap_or_default();
        t.add_row(vec![
            Cell::new(d.reason.label()),
            right(d.count),
            right(percent(Some(d.count as f64 / r.exchanges.max(1) as f64))),
            Cell::new(d.reason.sentence()),
            Cell::new(sample),
        ]);
    }
    t
}

fn classes(r: &Report) -> comfy_table::Table {
    let mut t = table(&["class", "exchanges", "rows"]);
    for c in r.classes.iter().take(CLASSES) {
        t.add_row(vec![Cell::new(&c.class), right(c.before), right(c.after)]);
    }
    if let Some(rest) = r.classes.get(CLASSES..).filter(|rest| !rest.is_empty()) {
        t.add_row(vec![
            Cell::new(format!("({} more)", rest.len())),
            right(rest.iter().map(|c| c.before).sum::<u64>()),
            right(rest.iter().map(|c| c.after).sum::<u64>()),
        ]);
    }
    t
}
