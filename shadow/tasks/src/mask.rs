//! Which substrings of a system text are variables: timestamps, UUIDs, e-mail
//! addresses and URLs. Nothing else at first: a number in a rule is form.

use std::borrow::Cow;
use std::ops::Range;
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

/// Days of the week, in full or shortened.
macro_rules! day {
    () => {
        r"(?:Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:nesday)?|Thu(?:r(?:s(?:day)?)?)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?),?"
    };
}

/// Months in full or shortened, in English and in German; no word that only begins like
/// one: "Decline 5000" is a rule.
macro_rules! month {
    () => {
        concat!(
            r"(?:Jan(?:uary?)?|Feb(?:ruary?)?|Mar(?:ch)?|März|Apr(?:il)?|Ma[yi]|Jun[ei]?|Jul[iy]?|Aug(?:ust)?",
            r"|Sep(?:t(?:ember)?)?|O[ck]t(?:ober)?|Nov(?:ember)?|De[cz](?:ember)?)\.?"
        )
    };
}

/// A year that a clock shows: "4.8.9032" is a version.
macro_rules! year {
    () => {
        r"(?:19|20)\d{2}"
    };
}

/// A day, or a month where Americans write it first.
macro_rules! of_month {
    () => {
        r"(?:0?[1-9]|[12]\d|3[01])"
    };
}

/// Hours and minutes, with the seconds and the half of the day where they are told.
macro_rules! clock {
    () => {
        r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[AaPp]\.?[Mm])?"
    };
}

/// What a date may be followed by: a time and its zone.
macro_rules! and_time {
    () => {
        concat!("(?:(?:[T ]|,? at |, )", clock!(), r")?(?: ?(?:Z|UTC|GMT|[ECMP][SD]T|[+-]\d{2}:?\d{2}))?\b")
    };
}

#[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
static VARIABLES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<url>\bhttps?://[^\s<>\x22')\]]+)",
        r"|(?P<email>\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b)",
        r"|(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)",
        r"|(?P<time>",
        // ISO 8601, and dates in digits as other countries write them.
        r"\b(?:\d{4}-\d{2}-\d{2}|",
        year!(),
        "/",
        of_month!(),
        "/",
        of_month!(),
        "|",
        of_month!(),
        "/",
        of_month!(),
        "/",
        year!(),
        "|",
        of_month!(),
        r"\.(?:0?[1-9]|1[0-2])\.",
        year!(),
        ")",
        and_time!(),
        // RFC 2822, and as people write dates in prompts.
        r"|\b(?:",
        day!(),
        r" )?(?:\d{1,2}\.? )?",
        month!(),
        r" (?:\d{1,2}(?:st|nd|rd|th)?,? )?\d{4}",
        and_time!(),
        // As C writes them, the year last.
        r"|\b",
        day!(),
        " ",
        month!(),
        r" +\d{1,2} ",
        clock!(),
        r"(?: [A-Z]{3,4})? \d{4}\b",
        r"|\d{4}年\d{1,2}月\d{1,2}日",
        // A time alone is one with seconds.
        r"|\b\d{2}:\d{2}:\d{2}\b)",
        // Without them, or a year, it may be a rule's, as an opening hour and a holiday are,
        // unless it is said to be now.
        r"|(?:(?m:^)[Tt]ime|\b(?:(?:[Cc]urrent|[Ll]ocal|[Pp]resent) [Tt]ime|[Tt]he [Tt]ime)(?: is)?(?: now)?",
        r"|\b[Nn]ow(?: is|:)|\b[Ii]t(?: is|'s|’s) (?:now|currently)):? (?P<clock>",
        clock!(),
        r")\b",
        r"|\b[Ii]t(?: is|'s|’s) (?P<hour>",
        clock!(),
        r") now\b",
        r"|\bIt(?: is|'s|’s) (?P<sentence>",
        clock!(),
        r")(?:[.!\n]|$)",
        r"|\b(?:[Tt]oday(?:['’]s date)?(?: is)?|(?:[Tt]he |[Cc]urrent )?[Dd]ate(?: is)?|[Nn]ow(?: is)?",
        r"|[Ii]t(?: is|'s|’s)(?: now| currently)?)[:,]? (?P<day>",
        day!(),
        r" (?:",
        month!(),
        r" \d{1,2}(?:st|nd|rd|th)?|\d{1,2}\.? ",
        month!(),
        r")(?:,? (?:19|20)\d{2})?",
        and_time!(),
        r"(?:(?: [A-Z]{3,4})? (?:19|20)\d{2}\b)?)",
    ))
    .expect("constant pattern")
});

/// Where variables stand in a text, by kind, in order.
pub(crate) fn found(text: &str) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    VARIABLES
        .captures_iter(text)
        .filter_map(|found| {
            let of = |kind| found.name(kind).map(|m| (kind, m.range()));
            ["time", "clock", "hour", "sentence", "day", "email", "url", "uuid"].into_iter().find_map(of)
        })
        .map(|(kind, range)| {
            (if matches!(kind, "clock" | "hour" | "sentence" | "day") { "time" } else { kind }, range)
        })
}

/// The text with each variable replaced by its kind in `⟨⟩`, and the values in
/// order. Borrowed when nothing was found.
#[must_use]
pub fn mask(text: &str) -> (Cow<'_, str>, Vec<Masked>) {
    // Every pattern needs one of these; most texts without variables end here.
    if !text.bytes().any(|b| matches!(b, b'0'..=b'9' | b'@')) && !text.contains("://") {
        return (Cow::Borrowed(text), Vec::new());
    }
    let found: Vec<_> = found(text).collect();
    if found.is_empty() {
        return (Cow::Borrowed(text), Vec::new());
    }
    let value = |(kind, range): &(&str, Range<usize>)| Masked {
        kind: (*kind).to_owned(),
        value: text.get(range.clone()).unwrap_or_default().to_owned(),
    };
    (Cow::Owned(with_kinds(text, &found)), found.iter().map(value).collect())
}

/// The text with the kinds, in `⟨⟩`, of what stands in these places instead of it.
pub(crate) fn with_kinds(text: &str, found: &[(&str, Range<usize>)]) -> String {
    let (mut out, mut from) = (String::new(), 0);
    for (kind, range) in found {
        out.push_str(text.get(from..range.start).unwrap_or_default());
        out.push('⟨');
        out.push_str(kind);
        out.push('⟩');
        from = range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}
