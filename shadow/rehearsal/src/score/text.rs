//! Text agrees only if what it states is the same.

use std::sync::LazyLock;

use regex::Regex;

use super::{Difference, Tally};

/// Numbers with their sign, unit marks and inner separators; dates and times;
/// URLs, e-mail addresses, paths; identifiers, i.e. words that mix letters with
/// digits or contain an underscore.
#[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
static FACTS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"https?://[^\s<>\x22')\]]+",
        r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
        r"|(?:[~.]?/[\w.-]+){2,}",
        r"|[-−+]?[$€£¥]?[-−+]?\d+(?:[.,:/-]\d+)*(?:%|\b)",
        r"|\b[A-Za-z]*[_\d][\w-]*\b",
        r"|\b[A-Z][A-Z0-9]{1,}\b",
    ))
    .expect("constant pattern")
});

const NEGATIONS: &[&str] = &[
    "not",
    "no",
    "never",
    "none",
    "nothing",
    "nobody",
    "neither",
    "nor",
    "without",
    "cannot",
    "unable",
    "don't",
    "doesn't",
    "didn't",
    "won't",
    "wouldn't",
    "can't",
    "couldn't",
    "isn't",
    "aren't",
    "wasn't",
    "weren't",
    "shouldn't",
    "hasn't",
    "haven't",
    "hadn't",
    "mustn't",
    "except",
    "unless",
    "refuse",
    "denied",
];

/// Compares two texts: facts, then negations, then the words.
pub(super) fn compare(wanted: &str, given: &str) -> Tally {
    let mut tally = Tally::new();
    if wanted == given {
        tally.matched();
        return tally;
    }
    if facts(wanted) == facts(given) {
        tally.matched()
    } else {
        tally.differs(Difference::Fact)
    }
    let (wanted, given) = (words(wanted), words(given));
    let negations = |words: &[String]| words.iter().filter(|w| NEGATIONS.contains(&w.as_str())).count();
    if negations(&wanted) == negations(&given) {
        tally.matched()
    } else {
        tally.differs(Difference::Negation)
    }
    if wanted == given {
        tally.matched()
    } else {
        tally.differs(Difference::Words)
    }
    tally
}

/// What the text states that must be the same, in order. A thousands separator
/// does not count ("1,000" is "1000"), a sentence's final stop neither.
fn facts(text: &str) -> Vec<String> {
    FACTS
        .find_iter(text)
        .map(|m| {
            let fact = m.as_str().trim_end_matches(['.', ',', ':', ';', '!', '?']).replace('−', "-");
            if is_grouped(&fact) { fact.replace(',', "") } else { fact }
        })
        .collect()
}

/// A number whose commas stand before groups of three digits.
fn is_grouped(fact: &str) -> bool {
    let whole = fact.split('.').next().unwrap_or(fact);
    let mut groups = whole.split(',');
    groups.next().is_some_and(|head| head.ends_with(|c: char| c.is_ascii_digit()))
        && whole.contains(',')
        && groups.all(|g| g.len() == 3 && g.bytes().all(|b| b.is_ascii_digit()))
}

/// The words in lower case, curly apostrophes straightened, punctuation and
/// markdown dropped where it stands between words.
fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace(['’', '‘'], "'")
        .split(|c: char| c.is_whitespace() || matches!(c, '—' | '–'))
        .map(|w| {
            w.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '$' | '€' | '£' | '%' | '+' | '-'))
        })
        .map(|w| w.trim_matches(|c: char| c == '-'))
        .filter(|w| !w.is_empty())
        .map(|w| if is_grouped(w) { w.replace(',', "") } else { w.to_owned() })
        .collect()
}
