//! What may be written for a key: words for people, and the reading of a value.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;
use understudy_engine::Access;
use understudy_onnx::ExecutionProvider;
use understudy_tasks::Sharing;

/// A kind of value.
pub(crate) struct Kind<T> {
    /// Completes "must be …".
    pub(crate) words: String,
    /// `None` when the value is not of this kind.
    #[expect(clippy::type_complexity, reason = "one closure, used in one place")]
    pub(crate) parse: Box<dyn Fn(&Value) -> Option<T>>,
}

fn kind<T>(words: impl Into<String>, parse: impl Fn(&Value) -> Option<T> + 'static) -> Kind<T> {
    Kind { words: words.into(), parse: Box::new(parse) }
}

/// `true` or `false`.
pub(crate) fn flag() -> Kind<bool> {
    kind("true or false", Value::as_bool)
}

/// Any text that is not empty.
pub(crate) fn text() -> Kind<String> {
    kind("a text", |v| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned))
}

/// One of these words.
pub(crate) fn one_of(words: &'static [&'static str]) -> Kind<String> {
    kind(format!("one of {}", words.join(", ")), move |v| {
        v.as_str().filter(|s| words.contains(s)).map(str::to_owned)
    })
}

/// A list of some of these words.
pub(crate) fn some_of(words: &'static [&'static str]) -> Kind<Vec<String>> {
    kind(format!("a list of some of {}", words.join(", ")), move |v| {
        let word = |v: &Value| v.as_str().filter(|s| words.contains(s)).map(str::to_owned);
        v.as_array()?.iter().map(word).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
    })
}

/// What models compute on.
pub(crate) fn execution_providers() -> Kind<Vec<ExecutionProvider>> {
    let labels = ExecutionProvider::ORDER.map(ExecutionProvider::label).join(", ");
    kind(format!("a list of some of {labels}, each once, the first choice first"), |v| {
        let provider = |v: &Value| v.as_str().and_then(ExecutionProvider::of_label);
        let all = v.as_array()?.iter().map(provider).collect::<Option<Vec<_>>>()?;
        let once = all.iter().collect::<HashSet<_>>().len() == all.len();
        (once && !all.is_empty()).then_some(all)
    })
}

/// A list of texts.
pub(crate) fn texts() -> Kind<Vec<String>> {
    kind("a list of texts", |v| {
        v.as_array()?.iter().map(|v| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned)).collect()
    })
}

/// Which tasks are one whoever calls.
pub(crate) fn sharing() -> Kind<Sharing> {
    kind("a list of forms (32 hexadecimal digits each), or [\"*\"] for all", |v| {
        let texts: Vec<&str> = v.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
        if texts == ["*"] {
            return Some(Sharing::All);
        }
        texts.iter().map(|t| t.parse().ok()).collect::<Option<_>>().map(Sharing::Forms)
    })
}

/// A list of paths that begin with a slash.
pub(crate) fn prefixes() -> Kind<Vec<String>> {
    kind("a list of path prefixes such as \"/openai\"", |v| {
        v.as_array()?
            .iter()
            .map(|v| {
                v.as_str().filter(|s| s.starts_with('/') && !s.ends_with('/') || *s == "/").map(str::to_owned)
            })
            .collect()
    })
}

/// A file or folder; `~/` is the home folder.
pub(crate) fn path() -> Kind<PathBuf> {
    kind("a path", |v| {
        let text = v.as_str().filter(|s| !s.is_empty())?;
        Some(match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(text),
        })
    })
}

/// A whole number.
pub(crate) fn whole(range: RangeInclusive<u64>) -> Kind<u64> {
    kind(format!("a whole number from {} to {}", range.start(), range.end()), move |v| {
        v.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n))
    })
}

/// A number.
pub(crate) fn number(range: RangeInclusive<f64>) -> Kind<f64> {
    kind(format!("a number from {} to {}", range.start(), range.end()), move |v| {
        let n = v.as_float().or_else(|| v.as_integer().and_then(|n| i32::try_from(n).ok()).map(f64::from))?;
        range.contains(&n).then_some(n)
    })
}

/// Addresses to listen on.
pub(crate) fn addresses() -> Kind<Vec<SocketAddr>> {
    kind("a list of addresses such as \"127.0.0.1:4141\"", |v| {
        let list: Option<Vec<SocketAddr>> = v.as_array()?.iter().map(|v| v.as_str()?.parse().ok()).collect();
        list.filter(|l| !l.is_empty())
    })
}

/// One address to listen on.
pub(crate) fn address() -> Kind<Option<SocketAddr>> {
    kind("an address such as \"127.0.0.1:4142\"", |v| v.as_str()?.parse().ok().map(Some))
}

/// An http or https address of a server.
pub(crate) fn url() -> Kind<String> {
    kind("an http:// or https:// URL with a host, without a query", |v| {
        let text = v.as_str()?;
        let parsed = reqwest::Url::parse(text).ok()?;
        let good = matches!(parsed.scheme(), "http" | "https")
            && parsed.has_host()
            && parsed.query().is_none()
            && parsed.username().is_empty();
        good.then(|| text.trim_end_matches('/').to_owned())
    })
}

/// The address of an engine: a server's, or a socket of this machine.
pub(crate) fn engine_address() -> Kind<String> {
    let url = url();
    kind("an http:// or https:// URL with a host, without a query, or unix:PATH", move |v| {
        match v.as_str()?.strip_prefix("unix:") {
            Some(path) => path.starts_with('/').then(|| format!("unix:{path}")),
            None => (url.parse)(v),
        }
    })
}

/// An engine as access rules of a cluster name it.
pub(crate) fn access() -> Kind<Access> {
    kind("NAMESPACE/NAME of an engine, such as understudy/understudy-engine", |v| {
        let (namespace, name) = v.as_str()?.split_once('/')?;
        let sound = |part: &str| !part.is_empty() && !part.contains('/');
        (sound(namespace) && sound(name))
            .then(|| Access { namespace: namespace.to_owned(), name: name.to_owned() })
    })
}

const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// A duration with its unit.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let words = format!(
        "a duration with its unit (ms, s, m, h, d) from {} to {}",
        show_duration(*range.start()),
        show_duration(*range.end())
    );
    kind(words, move |v| {
        let text = v.as_str()?.trim();
        let cut = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, unit) = text.split_at_checked(cut)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let found = Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * seconds).ok()?;
        range.contains(&found).then_some(found)
    })
}

/// A duration as it is written.
pub(crate) fn show_duration(d: Duration) -> String {
    let ms = d.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TiB", 1 << 40),
];

/// A number of bytes, with or without a unit.
pub(crate) fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let words = format!(
        "a size such as \"64 MiB\" from {} to {}",
        show_bytes(*range.start()),
        show_bytes(*range.end())
    );
    kind(words, move |v| {
        let found = match v {
            Value::Integer(n) => u64::try_from(*n).ok()?,
            Value::String(text) => {
                let text = text.trim();
                let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                let (digits, unit) = text.split_at_checked(cut)?;
                let (_, size) = SIZES.iter().find(|(name, _)| *name == unit.trim())?;
                digits.parse::<u64>().ok()?.checked_mul(*size)?
            }
            _ => return None,
        };
        range.contains(&found).then_some(found)
    })
}

/// A size as people read it.
pub(crate) fn show_bytes(n: u64) -> String {
    for (unit, size) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if n >= size {
            return if n.is_multiple_of(size) {
                format!("{} {unit}", n / size)
            } else {
                format!("{:.1} {unit}", n as f64 / size as f64)
            };
        }
    }
    format!("{n} B")
}
