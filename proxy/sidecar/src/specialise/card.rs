//! What an adapter's card says beside what its trainer knows: which rows nobody has
//! looked at, and what the task's prompted version had come to.

use std::path::Path;

use serde_json::{Value, json};
use understudy_call::ExchangeId;
use understudy_cast::Kind;

use crate::admin::pages::UnderstudyRow;

/// Agreement of the task's newest prompted version on its own development calls, at
/// the largest coverage; `None` where it has answered none. They are not the
/// adapter's rows.
pub(crate) fn prompted(understudies: &[UnderstudyRow]) -> Option<Value> {
    let mut all = understudies.iter().filter(|u| u.kind == Kind::Prompted.label());
    let (row, (_, coverage, agreement)) = all.find_map(|u| Some((u, *u.curve.last()?)))?;
    Some(json!({
        "understudy": row.name,
        "agreement": agreement,
        "coverage": coverage,
        "conversations": row.development.map(|(judged, _)| judged),
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

/// Completes the card in an adapter's folder.
///
/// # Errors
/// What the system says.
pub(super) fn complete(
    folder: &Path,
    held: &[ExchangeId],
    prompted: Option<&Value>,
) -> Result<(), std::io::Error> {
    let (path, beside) = (folder.join("card.json"), folder.join("card.json.new"));
    let card: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    std::fs::write(&beside, serde_json::to_vec_pretty(&with(card, held, prompted))?)?;
    std::fs::rename(&beside, &path)
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

        let dir = tempfile::tempdir().unwrap();
        let card = json!({ "data": { "rows": { "train": 9 }, "exchanges": { "train": ["a"] } }, "metrics": { "base": 1 } });
        std::fs::write(dir.path().join("card.json"), card.to_string()).unwrap();
        let held = [ExchangeId([7; 16])];
        complete(dir.path(), &held, Some(&prompted)).unwrap();
        let card: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("card.json")).unwrap()).unwrap();
        assert_eq!(card["data"]["exchanges"]["held"], json!(held));
        assert_eq!((&card["data"]["rows"]["held"], &card["data"]["rows"]["train"]), (&json!(1), &json!(9)));
        assert_eq!((&card["metrics"]["prompted"], &card["metrics"]["base"]), (&prompted, &json!(1)));
        assert_eq!(with(card, &held, None)["metrics"]["prompted"], Value::Null);
    }
}
