//! Tables for people. Agreement is never shown without coverage.

mod tasks;
#[cfg(test)]
mod tests;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::admin::pages::{DecisionRow, Interval, JournalPage, SavingsPage, TaskPage, UnderstudyRow};
use crate::config::show_bytes;
pub(crate) use tasks::tasks;

const FIDELITY: &str = "Agreement is fidelity to the provider, call by call, averaged over conversations (95 % interval); \
it is not the success of the errand.\n";

/// Columns of text where there is no terminal.
const NO_TERMINAL: u16 = 160;

/// An empty table that fits the terminal; colours follow NO_COLOR and the terminal.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    // Asked for first: without colours it takes the terminal for none.
    let width = if table.is_tty() { table.width() } else { Some(NO_TERMINAL) };
    if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        table.force_no_tty();
    }
    if let Some(width) = width {
        table.set_width(width);
    }
    table.set_header(heads.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)));
    table
}

/// A number's cell.
pub(crate) fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// `97.1 %`, or a dash.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |s| format!("{:.1} %", s * 100.0))
}

/// `12.34`, or `1.2e30` where nobody would read the digits.
fn wealth(w: f64) -> String {
    if w < 1e6 { format!("{w:.2}") } else { format!("{w:.1e}") }
}

/// `97.1 % (95.0–98.6)`, or a dash.
pub(crate) fn interval(share: Option<Interval>) -> String {
    share.map_or_else(
        || "–".into(),
        |i| format!("{:.1} % ({:.1}–{:.1})", i.mean * 100.0, i.low * 100.0, i.high * 100.0),
    )
}

/// `1.2 s`, `340 ms`, or a dash.
pub(crate) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "–".into(),
        Some(ms) if ms >= 1000.0 => format!("{:.1} s", ms / 1000.0),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// `$1.24`, `$0.00031`, or a dash.
pub(crate) fn dollars(usd: Option<f64>) -> String {
    match usd {
        None => "–".into(),
        Some(usd) if usd != 0.0 && usd.abs() < 0.01 => format!("${usd:.5}"),
        Some(usd) => format!("${usd:.2}"),
    }
}

/// The first eight digits of an id.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A task's understudies side by side.
pub(crate) fn understudies(rows: &[UnderstudyRow]) -> String {
    if rows.is_empty() {
        return "no understudies yet: they are made of the task's first calls\n".into();
    }
    let mut t = table(&["understudy", "kind", "made of", "development", "coverage", "agreement", "state"]);
    for row in rows {
        t.add_row(vec![
            Cell::new(&row.name),
            Cell::new(&row.kind),
            Cell::new(&row.made_of),
            right(row.development.map_or_else(String::new, |(done, needed)| format!("{done} of {needed}"))),
            right(percent(row.coverage)),
            right(interval(row.agreement)),
            Cell::new(&row.state),
        ]);
    }
    format!("{t}\n{}{FIDELITY}", curves(rows))
}

/// What development promises of each, bar by bar; nothing where there is none yet.
fn curves(rows: &[UnderstudyRow]) -> String {
    let mut out = String::new();
    for row in rows.iter().filter(|r| !r.curve.is_empty()) {
        if out.is_empty() {
            out.push_str(
                "coverage:agreement in percent, over development calls (what to expect, not evidence)\n",
            );
        }
        let points: Vec<String> =
            row.curve.iter().map(|(_, c, a)| format!("{:.0}:{:.1}", 100.0 * c, 100.0 * a)).collect();
        out.push_str(&format!("  {}  {}\n", row.name, points.join("  ")));
    }
    out
}

/// One task in full.
pub(crate) fn task(page: &TaskPage) -> String {
    let row = &page.row;
    let mut out = format!(
        "{} ({})\n  {} · {} calls in {} conversations · {} repeats · {} served\n",
        row.name, row.id, row.model, row.calls, row.conversations, row.repeats, row.served
    );
    out.push_str(&format!("  stage {}", row.stage));
    if let Some((step, of)) = row.step {
        out.push_str(&format!(", step {step} of {of}"));
    }
    if let Some(lacking) = &row.waits_for {
        out.push_str(&format!(" · {lacking}"));
    }
    out.push('\n');
    if !page.form_hash.is_empty() {
        let whose = if page.shared { ", shared by all callers" } else { "" };
        out.push_str(&format!("  id of its form {}{whose}\n", page.form_hash));
    }
    if !page.form.is_empty() {
        out.push_str(&format!("  form  {}\n", page.form));
    }
    for (tool, effect) in &page.tools {
        out.push_str(&format!("  tool  {tool} ({effect})\n"));
    }
    if !page.rules.is_empty() {
        let rules: Vec<String> = page.rules.iter().map(|(k, v)| format!("{k} {v}")).collect();
        out.push_str(&format!("  rules {}\n", rules.join(" · ")));
    }
    if !page.entries.is_empty() {
        let mut t = table(&[
            "entry",
            "understudy",
            "bar",
            "coverage",
            "agreement",
            "conversations",
            "wealth",
            "opens at",
            "state",
        ]);
        for e in &page.entries {
            t.add_row(vec![
                right(e.k),
                Cell::new(&e.understudy),
                right(format!("{:.3}", e.bar)),
                right(percent(e.coverage)),
                right(interval(e.agreement)),
                right(e.conversations),
                right(wealth(e.wealth)),
                right(format!("{:.0}", e.threshold)),
                Cell::new(&e.state),
            ]);
        }
        out.push_str(&format!("\n{t}\n"));
    }
    let curves = curves(&page.understudies);
    if !curves.is_empty() {
        out.push_str(&format!("\n{curves}"));
    }
    if !page.baselines.is_empty() {
        let mut t = table(&["baseline (never served)", "coverage", "agreement"]);
        for (name, coverage, agreement) in &page.baselines {
            t.add_row(vec![Cell::new(name), right(percent(*coverage)), right(percent(*agreement))]);
        }
        out.push_str(&format!("\n{t}\n"));
    }
    if !page.strata.is_empty() {
        let mut t = table(&["stratum", "conversations", "agreement", "state"]);
        for s in &page.strata {
            t.add_row(vec![
                Cell::new(&s.stratum),
                right(s.conversations),
                right(percent(Some(s.agreement))),
                Cell::new(&s.state),
            ]);
        }
        out.push_str(&format!("\n{t}\n"));
    }
    if !page.declined.is_empty() {
        let reasons: Vec<String> = page.declined.iter().map(|(why, n)| format!("{why} {n}")).collect();
        out.push_str(&format!("\n  to the provider because  {}\n", reasons.join(" · ")));
    }
    if let Some((value, limit)) = page.cusum {
        out.push_str(&format!("  demotion process  {value:.2} of {limit:.0}\n"));
    }
    if !page.decisions.is_empty() {
        out.push_str(&format!("\n{}", decisions(&page.decisions)));
    }
    out.push_str(FIDELITY);
    out
}

/// Decisions with their reason and numbers.
pub(crate) fn decisions(rows: &[DecisionRow]) -> String {
    if rows.is_empty() {
        return "nothing was decided yet\n".into();
    }
    let mut t = table(&["at", "task", "from", "to", "why", "numbers", "by"]);
    for d in rows {
        let numbers: Vec<String> = d.numbers.iter().map(|(k, v)| format!("{k} {}", figure(*v))).collect();
        t.add_row(vec![
            right(d.seq),
            Cell::new(if d.name.is_empty() { short(&d.task) } else { d.name.clone() }),
            Cell::new(&d.from),
            Cell::new(&d.to),
            Cell::new(d.why.replace('_', " ")),
            Cell::new(numbers.join(", ")),
            Cell::new(d.by.clone().unwrap_or_default()),
        ]);
    }
    format!("{t}\n")
}

/// A number with as many digits as it deserves.
fn figure(v: f64) -> String {
    if v.fract() == 0.0 && v.abs() < 1e12 {
        format!("{v:.0}")
    } else if v.abs() >= 100.0 {
        format!("{v:.1}")
    } else {
        format!("{v:.3}")
    }
}

/// What was saved, beside what it cost.
pub(crate) fn savings(page: &SavingsPage) -> String {
    if page.tasks.is_empty() {
        return "nothing was served yet, so nothing was saved\n".into();
    }
    let mut t = table(&[
        "task",
        "model",
        "calls",
        "served",
        "audited",
        "tokens saved",
        "gross",
        "audits",
        "net",
        "by control",
    ]);
    for s in &page.tasks {
        t.add_row(vec![
            Cell::new(if s.name.is_empty() { short(&s.task) } else { s.name.clone() }),
            Cell::new(&s.model),
            right(s.calls),
            right(s.served),
            right(s.audited),
            right(s.input_tokens + s.output_tokens),
            right(dollars(s.gross_usd)),
            right(dollars(s.audits_usd)),
            right(dollars(s.net_usd)),
            right(s.by_control_usd.map_or_else(
                || "–".to_owned(),
                |(mean, low, high)| {
                    format!("{} ({} to {})", dollars(Some(mean)), dollars(Some(low)), dollars(Some(high)))
                },
            )),
        ]);
    }
    let dated = if page.prices_dated.is_empty() {
        "No price is known for these models: tokens only (see providers.NAME.prices).\n".to_owned()
    } else {
        format!("Prices as of {}; edit them under providers.NAME.prices.\n", page.prices_dated.join(", "))
    };
    format!(
        "{t}\n{dated}By control: the difference between conversations with and without understudies, with its interval.\n"
    )
}

/// The journal.
pub(crate) fn journal(page: &JournalPage) -> String {
    let mut out = format!(
        "{}\n  folder     {}\n  volumes    {} ({}), {} set aside\n  records    {} since it was opened, durable up to number {}\n  waiting    {}\n",
        page.state,
        page.folder,
        page.volumes,
        show_bytes(page.bytes),
        page.set_aside,
        page.records,
        page.durable,
        show_bytes(page.queued_bytes)
    );
    if let Some(share) = page.redacted_share {
        out.push_str(&format!("  redaction  changed {} of calls\n", percent(Some(share))));
    }
    for (why, n) in page.drops.iter().filter(|(_, n)| **n > 0) {
        out.push_str(&format!("  dropped    {n} ({why})\n"));
    }
    out
}
