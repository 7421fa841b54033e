//! When a call was made, as a log says it.

use serde_json::Value;

/// Unix milliseconds out of the first of these fields that has a time: a number
/// of seconds or milliseconds, or RFC 3339.
pub(super) fn time_of(line: &Value, names: &[&str]) -> Option<i64> {
    names.iter().find_map(|name| match line.get(*name)? {
        Value::Number(n) => {
            let n = n.as_f64()?;
            // Seconds until the year 5138, milliseconds from 1973 on.
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any date fit")]
            Some(if n.abs() < 1e11 { (n * 1000.0) as i64 } else { n as i64 })
        }
        Value::String(s) => rfc3339_ms(s),
        _ => None,
    })
}

/// RFC 3339 to Unix milliseconds.
pub(super) fn rfc3339_ms(s: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(s.get(..19)?).ok()?;
    let whole = i64::try_from(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()?;
    let rest = s.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(r) => r.split_at(r.find(|c: char| !c.is_ascii_digit()).unwrap_or(r.len())),
        None => ("", rest),
    };
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let offset_minutes = match zone {
        "" | "Z" | "z" => 0,
        z => {
            let sign = if z.starts_with('-') { -1 } else { 1 };
            let (h, m) = z.get(1..)?.split_once(':')?;
            sign * (h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?)
        }
    };
    Some(whole + millis - offset_minutes * 60_000)
}
