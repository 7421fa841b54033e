//! Quantities as Kubernetes writes them (`resource.Quantity`, exponents aside).

use serde_json::Value;

/// What a quantity's unit multiplies by.
const UNITS: [(&str, f64); 9] = [
    ("", 1.0),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
];

fn parse(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    if unit == "m" {
        // Divided: 9m is then the same as 0.009.
        return Some(number / 1e3);
    }
    let (_, times) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(number * times)
}

/// A positive quantity's value.
pub(crate) fn positive(text: &str) -> Option<f64> {
    parse(text).filter(|n| *n > 0.0)
}

/// A quantity of memory or disk, in whole bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    positive(text).map(|n| n as u64)
}

/// Sizes as the sidecar's configuration writes them (its `config/kinds.rs`).
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A size of the sidecar's configuration, such as `64 MiB`, in bytes.
pub(crate) fn configured(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, times) = SIZES.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*times)
}

/// The value of a quantity in a manifest, where a number may stand without quotes.
pub(crate) fn value(written: &Value) -> Option<f64> {
    written.as_f64().or_else(|| parse(written.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quantity_has_one_value_however_it_is_written() {
        assert_eq!(value(&json!("9m")), value(&json!("0.009")));
        assert_eq!(value(&json!(2)), Some(2.0));
        assert_eq!(value(&json!("1.5Gi")), value(&json!("1536Mi")));
        assert_eq!(value(&json!("0")), Some(0.0));
        assert_eq!((positive("0"), bytes("1Ki")), (None, Some(1024)));
        for other in [json!(null), json!("lots"), json!(""), json!("1Qi"), json!("-1"), json!({})] {
            assert_eq!(value(&other), None, "{other}");
        }
    }

    #[test]
    fn a_size_of_the_configuration_has_its_own_units() {
        for (text, size) in [("64 MiB", 64 << 20), ("1073741824", 1 << 30), (" 2kB ", 2_000), ("7 B", 7)] {
            assert_eq!(configured(text), Some(size), "{text}");
        }
        for other in ["", "lots", "64Mi", "1.5 GiB", "-1", "99999999999999999999", "99999999 TiB"] {
            assert_eq!(configured(other), None, "{other}");
        }
    }
}
