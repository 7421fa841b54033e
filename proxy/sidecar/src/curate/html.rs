//! The report as one page that needs nothing else: no script, no address.

use minijinja::{Environment, Value, context};
use understudy_curriculum::Split;

use super::Told;
use crate::failure::Failure;

/// The report.
///
/// # Errors
/// None that a report could cause.
pub(super) fn report(told: &Told<'_>) -> Result<String, Failure> {
    let failed = |e: minijinja::Error| Failure::Failed(format!("the report cannot be written: {e}"));
    let mut pages = Environment::new();
    // The name's ending turns escaping on.
    pages.add_template("report.html", include_str!("report.html")).map_err(failed)?;
    let r = told.report;
    let dropped: Vec<Value> = r
        .dropped
        .iter()
        .map(|d| {
            context! {
                label => d.reason.label(),
                sentence => d.reason.sentence(),
                count => d.count,
                share => format!("{:.1} %", 100.0 * d.count as f64 / r.exchanges.max(1) as f64),
                samples => Value::from_serialize(&d.samples),
            }
        })
        .collect();
    let splits: Vec<Value> = [Split::Train, Split::Development, Split::Held]
        .iter()
        .map(|s| context! { label => s.label(), size => Value::from_serialize(r.split(*s)) })
        .collect();
    let page = pages.get_template("report.html").map_err(failed)?;
    page.render(context! { told => Value::from_serialize(told), dropped, splits }).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use understudy_curriculum::{Report, Rules};

    #[test]
    fn what_was_said_is_text_and_no_markup() {
        let sample = json!({"exchange": "00".repeat(16), "seq": 1, "asked": "<script>alert(1)</script>", "answered": "\"><b>"});
        let report = Report {
            name: "<i>desk</i>".into(),
            dropped: serde_json::from_value(json!([{"reason": "conflict", "count": 3, "samples": [sample]}]))
                .unwrap(),
            rules: Rules::default(),
            ..Report::default()
        };
        let page = super::report(&Told::new(&report, "00", None)).unwrap();
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
        for tag in ["<script", "<i>", "<b>", "http://", "https://"] {
            assert!(!page.contains(tag), "{tag}: {page}");
        }
        assert!(page.contains("conflict"));
    }
}
