//! What an adapter's card says of how good it is, and what it says beside what its
//! trainer knows: which rows were held, and what the task's prompted version had come
//! to.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use understudy_call::ExchangeId;
use understudy_cast::Kind;

use crate::admin::pages::UnderstudyRow;
use crate::tables::percent;

/// What the prompted version's figure is of. The base's and the adapter's are of
/// the rows under `compared`.
const PROMPTED_WAS_ASKED: &str = "its own trials: judged calls of `conversations` conversations that came after it was made, of whichever part of the set; agreement is that of the share `coverage` of them which it answered. They are not the rows of base, specialised, development or held, so the figures are not to be subtracted";

/// How good an adapter is, as its card says (`measure.py` of the trainer).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Metrics {
    /// The bare base, on the same rows as `specialised`.
    base: Option<Figure>,
    /// The adapter, on development rows.
    specialised: Option<Figure>,
    /// The adapter, on rows that nothing had looked at before.
    held: Option<Figure>,
    /// The task's prompted version, on rows of its own.
    prompted: Option<Prompted>,
}

/// See [`prompted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Prompted {
    agreement: f64,
    coverage: f64,
    conversations: Option<u32>,
}

/// How many rows agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Figure {
    rows: u64,
    agreed: u64,
    agreement: f64,
    /// Of them those that are the provider's to answer, and agree where they are left.
    #[serde(default)]
    left: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by_conversation: Option<Conversations>,
}

/// The mean over conversations, with its two-sided 95 % interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Conversations {
    conversations: u64,
    agreement: f64,
    interval: (f64, f64),
}

impl Figure {
    fn left(&self) -> String {
        match self.left {
            0 => String::new(),
            n => format!(" ({n} of them are to be left to the provider)"),
        }
    }
}

impl Metrics {
    /// What a card says; nothing where it says it in another way.
    fn of(card: &Value) -> Self {
        card.get("metrics").and_then(|m| Self::deserialize(m).ok()).unwrap_or_default()
    }

    /// For people, a sentence a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(made) = &self.specialised else { return lines };
        if let Some(base) = &self.base {
            lines.push(format!(
                "on the same {} development rows the bare base agrees on {}, the adapter on {}{}",
                made.rows,
                percent(Some(base.agreement)),
                percent(Some(made.agreement)),
                made.left()
            ));
        }
        lines.push(match &self.held {
            None => "no held row was measured: there is none, or no time was left".to_owned(),
            Some(held) => {
                let mean = held.by_conversation.as_ref().map_or_else(String::new, |c| {
                    let (low, high) = c.interval;
                    format!(
                        "; over their {} conversations {} ({:.1}–{:.1})",
                        c.conversations,
                        percent(Some(c.agreement)),
                        low * 100.0,
                        high * 100.0
                    )
                });
                format!(
                    "on {} held rows, which nothing had looked at, {} agree{mean}{}",
                    held.rows,
                    held.agreed,
                    held.left()
                )
            }
        });
        if let Some(prompted) = &self.prompted {
            let of = prompted.conversations.map_or_else(String::new, |n| format!(" of {n} conversations"));
            lines.push(format!(
                "the prompted version, on other rows (its own trials{of}): {} of the {} that it answered",
                percent(Some(prompted.agreement)),
                percent(Some(prompted.coverage))
            ));
        }
        lines
    }
}

/// Agreement of the task's newest prompted version on its own development calls, at
/// the largest coverage; `None` where it has answered none. They are not the
/// adapter's rows, and the figure says so.
pub(crate) fn prompted(understudies: &[UnderstudyRow]) -> Option<Value> {
    let mut all = understudies.iter().filter(|u| u.kind == Kind::Prompted.label());
    let (row, (_, coverage, agreement)) = all.find_map(|u| Some((u, *u.curve.last()?)))?;
    Some(json!({
        "understudy": row.name,
        "agreement": agreement,
        "coverage": coverage,
        "conversations": row.development.map(|(judged, _)| judged),
        "asked": PROMPTED_WAS_ASKED,
    }))
}

/// Adds both to a card. The held rows' calls are named and not shown.
fn with(mut card: Value, held: &[ExchangeId], prompted: Option<&Value>) -> Value {
    let mut put = |place: &str, key: &str, value: Value| {
        if let Some(fields) = card.pointer_mut(place).and_then(Value::as_object_mut) {
            fields.insert(key.to_owned(), value);
        }
    };
    put("/data/exchanges", "held", json!(held));
    put("/data/rows", "held", json!(held.len()));
    put("/metrics", "prompted", json!(prompted));
    card
}

/// Completes the card in an adapter's folder; says how good the adapter is.
///
/// # Errors
/// What the system says.
pub(super) fn complete(
    folder: &Path,
    held: &[ExchangeId],
    prompted: Option<&Value>,
) -> Result<Metrics, std::io::Error> {
    let (path, beside) = (folder.join("card.json"), folder.join("card.json.new"));
    let card = with(serde_json::from_slice(&std::fs::read(&path)?)?, held, prompted);
    std::fs::write(&beside, serde_json::to_vec_pretty(&card)?)?;
    std::fs::rename(&beside, &path)?;
    Ok(Metrics::of(&card))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_names_the_rows_that_were_held_and_compares_with_the_prompted_version() {
        let understudy = |kind: &str, name: &str, curve: Vec<(f64, f64, f64)>| UnderstudyRow {
            name: name.to_owned(),
            kind: kind.to_owned(),
            development: Some((40, 300)),
            curve,
            ..UnderstudyRow::default()
        };
        let all = [
            understudy("head", "head-1", vec![(0.1, 1.0, 0.9)]),
            understudy("prompted", "prompted-2", Vec::new()),
            understudy("prompted", "prompted-1", vec![(0.9, 0.1, 0.8), (0.2, 1.0, 0.4)]),
        ];
        let prompted = prompted(&all).unwrap();
        assert_eq!(prompted["understudy"], "prompted-1");
        assert_eq!((&prompted["coverage"], &prompted["agreement"]), (&json!(1.0), &json!(0.4)));
        assert_eq!(prompted["conversations"], 40);
        assert!(prompted["asked"].as_str().unwrap().contains("not the rows of base"), "{prompted}");

        let dir = tempfile::tempdir().unwrap();
        let card = json!({ "data": { "rows": { "train": 9 }, "exchanges": { "train": ["a"] } }, "metrics": { "base": 1 } });
        std::fs::write(dir.path().join("card.json"), card.to_string()).unwrap();
        let held = [ExchangeId([7; 16])];
        let metrics = complete(dir.path(), &held, Some(&prompted)).unwrap();
        assert_eq!(metrics, Metrics::default(), "a card that says it in another way");
        assert!(metrics.lines().is_empty());
        let card: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("card.json")).unwrap()).unwrap();
        assert_eq!(card["data"]["exchanges"]["held"], json!(held));
        assert_eq!((&card["data"]["rows"]["held"], &card["data"]["rows"]["train"]), (&json!(1), &json!(9)));
        assert_eq!((&card["metrics"]["prompted"], &card["metrics"]["base"]), (&prompted, &json!(1)));
        assert_eq!(with(card, &held, None)["metrics"]["prompted"], Value::Null);
    }

    #[test]
    fn people_are_told_what_is_of_the_same_rows_and_what_nothing_had_looked_at() {
        let figure = |rows: u64, agreed: u64, agreement: f64| json!({ "rows": rows, "agreed": agreed, "agreement": agreement, "name_agreement": 1.0 });
        let mut held = figure(100, 93, 0.93);
        held["by_conversation"] =
            json!({ "conversations": 80, "agreement": 0.925, "interval": [0.844, 0.972] });
        let mut card = json!({ "metrics": {
            "compared": { "split": "development", "rows": 64, "exchanges": [] },
            "base": figure(64, 2, 0.0313),
            "specialised": figure(64, 59, 0.9219),
            "development": figure(400, 370, 0.925),
            "held": held,
            "prompted": { "understudy": "p", "agreement": 0.4, "coverage": 1.0, "conversations": 40, "asked": "…" },
            "loss": 0.1,
        } });
        assert_eq!(
            Metrics::of(&card).lines(),
            [
                "on the same 64 development rows the bare base agrees on 3.1 %, the adapter on 92.2 %",
                "on 100 held rows, which nothing had looked at, 93 agree; over their 80 conversations 92.5 % (84.4–97.2)",
                "the prompted version, on other rows (its own trials of 40 conversations): 40.0 % of the 100.0 % that it answered",
            ]
        );
        card["metrics"]["base"] = Value::Null;
        card["metrics"]["held"] = Value::Null;
        card["metrics"]["prompted"] = Value::Null;
        assert_eq!(
            Metrics::of(&card).lines(),
            ["no held row was measured: there is none, or no time was left"]
        );
        assert!(Metrics::of(&json!({})).lines().is_empty());
    }
}
