//! Which substrings of a system text are variables: timestamps, UUIDs, e-mail
//! addresses and URLs. Nothing else at first: a number in a rule is form.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A value that was masked out of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked {
    /// What kind of value: `time`, `uuid`, `email` or `url`.
    pub kind: String,
    /// The value.
    pub value: String,
}

#[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
static VARIABLES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<url>\bhttps?://[^\s<>\x22')\]]+)",
        r"|(?P<email>\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b)",
        r"|(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)",
        // ISO 8601 dates with or without a time and zone, RFC 2822 dates, times
        // with seconds, and dates as people write them in prompts.
        r"|(?P<time>\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)?(?: ?(?:Z|UTC|GMT|[ECMP][SD]T|[+-]\d{2}:?\d{2}))?\b",
        // Days and months in full or as they are shortened (four of the months in
        // German too), no word that only begins like one: "Decline 5000" is a rule.
        r"|\b(?:(?:Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:nesday)?|Thu(?:r(?:s(?:day)?)?)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?),? )?(?:\d{1,2} )?",
        r"(?:Jan(?:uary?)?|Feb(?:ruary?)?|Mar(?:ch)?|Apr(?:il)?|May|Jun[ei]?|Jul[iy]?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.? ",
        r"(?:\d{1,2}(?:st|nd|rd|th)?,? )?\d{4}(?:,? \d{2}:\d{2}(?::\d{2})?(?: ?(?:Z|UTC|GMT|[+-]\d{4}))?)?\b",
        r"|\b\d{2}:\d{2}:\d{2}\b)",
    ))
    .expect("constant pattern")
});

/// The text with each variable replaced by its kind in `⟨⟩`, and the values in
/// order. Borrowed when nothing was found.
#[must_use]
pub fn mask(text: &str) -> (Cow<'_, str>, Vec<Masked>) {
    // Every pattern needs one of these; most texts without variables end here.
    if !text.bytes().any(|b| matches!(b, b'0'..=b'9' | b'@')) && !text.contains("://") {
        return (Cow::Borrowed(text), Vec::new());
    }
    let mut out = String::new();
    let mut values = Vec::new();
    let mut from = 0;
    for found in VARIABLES.captures_iter(text) {
        let Some((kind, m)) =
            ["time", "email", "url", "uuid"].into_iter().find_map(|kind| found.name(kind).map(|m| (kind, m)))
        else {
            continue;
        };
        out.push_str(text.get(from..m.start()).unwrap_or_default());
        out.push('⟨');
        out.push_str(kind);
        out.push('⟩');
        values.push(Masked { kind: kind.to_owned(), value: m.as_str().to_owned() });
        from = m.end();
    }
    if values.is_empty() {
        return (Cow::Borrowed(text), values);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    (Cow::Owned(out), values)
}
