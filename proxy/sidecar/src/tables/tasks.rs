//! Every task at a glance: a table where there is room for one, else some lines
//! each. Both say the same.

use comfy_table::{Cell, Color, Table};

use super::{FIDELITY, dollars, interval, millis, percent, right, short, table};
use crate::admin::pages::TaskRow;

pub(super) const HEADS: [&str; 12] = [
    "task",
    "stage",
    "calls",
    "repeats",
    "coverage",
    "agreement",
    "entry",
    "served",
    "provider",
    "understudy",
    "saved",
    "missing",
];

/// Columns of text below which the table would break its words.
pub(super) const ROOM: u16 = 160;

/// Every task: how far it has come, and what is missing.
pub(crate) fn tasks(rows: &[TaskRow]) -> String {
    if rows.is_empty() {
        return "no tasks yet: they appear with the first recorded calls\n".into();
    }
    let t = table(&HEADS);
    let narrow = t.width().is_some_and(|w| w < ROOM);
    format!("{}\n{FIDELITY}", if narrow { in_lines(rows) } else { in_table(t, rows) })
}

fn stage(row: &TaskRow) -> String {
    let mut text = row.stage.clone();
    if let Some((step, of)) = row.step {
        text.push_str(&format!(" {step}/{of}"));
    }
    if row.pinned {
        text.push_str(" (pinned)");
    }
    text
}

pub(super) fn in_table(mut t: Table, rows: &[TaskRow]) -> String {
    for row in rows {
        let stage = Cell::new(stage(row));
        t.add_row(vec![
            Cell::new(format!("{}\n{} {}", row.name, short(&row.id), row.model)),
            match row.stage.as_str() {
                "live" => stage.fg(Color::Green),
                "canary" => stage.fg(Color::Yellow),
                _ => stage,
            },
            right(row.calls),
            right(row.repeats),
            right(percent(row.coverage)),
            right(interval(row.agreement)),
            right(row.entry.map_or_else(String::new, |k| k.to_string())),
            right(row.served),
            right(millis(row.provider_ms)),
            right(millis(row.understudy_ms)),
            right(dollars(row.saved_usd)),
            Cell::new(row.waits_for.as_deref().unwrap_or_default()),
        ]);
    }
    t.to_string()
}

/// For 80 columns: a line is what belongs together.
pub(super) fn in_lines(rows: &[TaskRow]) -> String {
    let mut out = String::new();
    for row in rows {
        let entry = row.entry.zip(row.understudy.as_ref());
        let lines = [
            vec![row.name.clone(), stage(row)],
            vec![
                short(&row.id),
                row.model.clone(),
                format!("{} calls", row.calls),
                format!("{} repeats", row.repeats),
            ],
            vec![
                format!("coverage {}", percent(row.coverage)),
                format!("agreement {}", interval(row.agreement)),
                format!("{} served", row.served),
                format!("saved {}", dollars(row.saved_usd)),
            ],
            entry
                .map(|(k, understudy)| format!("entry {k}, {understudy}"))
                .into_iter()
                .chain([
                    format!("provider {}", millis(row.provider_ms)),
                    format!("understudy {}", millis(row.understudy_ms)),
                ])
                .collect(),
            row.waits_for.iter().map(|lacking| format!("missing: {lacking}")).collect(),
        ];
        for (i, line) in lines.iter().filter(|line| !line.is_empty()).enumerate() {
            let indent = if i == 0 { "" } else { "  " };
            out.push_str(&format!("{indent}{}\n", line.join(" · ")));
        }
    }
    out
}
