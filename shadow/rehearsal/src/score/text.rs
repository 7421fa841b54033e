//! Text agrees only if what it states is the same.
//!
//! What may differ is how a sentence is set: case, white space, full stops and
//! commas, quotes, round brackets, dashes between clauses, bold words. A sign is
//! no punctuation and compares exactly: `x > 5` is not `x < 5`, `C#` is not `C`, 👍
//! is not 👎. Where an operator stands alone the text is notation, and there
//! quotes and brackets group: `(a + b) * c` is not `a + (b * c)`.

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
        r"|[-+]?[$€£¥]?[-+]?\d+(?:[.,:/-]\d+)*(?:%|\b)",
        r"|\b[A-Za-z]*[_\d][\w-]*\b",
        r"|\b[A-Z][A-Z0-9]{1,}\b",
    ))
    .expect("constant pattern")
});

/// Bold words of Markdown. One star or underscore is left: `*.log` and `_id_`
/// mean something with them.
#[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
static BOLD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b{start-half}\*\*([^\s*](?:[^*\n]*[^\s*])?)\*\*\b{end-half}").expect("constant pattern")
});

/// What begins a line of a list.
const BULLETS: [&str; 5] = ["-", "*", "•", "·", "◦"];

const STOPS: [char; 18] =
    ['.', ',', ';', ':', '!', '?', '…', '。', '，', '、', '；', '：', '！', '？', '،', '؛', '؟', '।'];

const QUOTES: [char; 14] = ['"', '\'', '`', '“', '”', '„', '«', '»', '‹', '›', '「', '」', '『', '』'];

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
    let (wanted, given) = (level(wanted), level(given));
    tally.judge(facts(&wanted) == facts(&given), Difference::Fact);
    let (wanted, given) = (words(&wanted), words(&given));
    let negations = |words: &[String]| words.iter().filter(|w| NEGATIONS.contains(&w.as_str())).count();
    tally.judge(negations(&wanted) == negations(&given), Difference::Negation);
    // Where no word is left, two texts that differ do so in their marks.
    tally.judge(wanted == given && !wanted.is_empty(), Difference::Words);
    tally
}

/// The text with one sign for each meaning: apostrophes and hyphens in their plain
/// form, the Unicode minus a hyphen too, a long dash between clauses a space, and
/// bold words bare. The short dash stays one: "Monday–Friday" is not "Monday, Friday".
fn level(text: &str) -> String {
    let text = BOLD.replace_all(text, "$1");
    let mut level = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let in_number = level.ends_with(|c: char| c.is_ascii_digit())
            && chars.peek().is_some_and(|next| next.is_ascii_digit());
        level.push(match c {
            '’' | '‘' => '\'',
            '‐' | '‑' | '‒' | '–' | '−' => '-',
            '—' | '―' if in_number => '-',
            '—' | '―' => ' ',
            c => c,
        });
    }
    level
}

/// What the text states that must be the same, in order. A thousands separator
/// does not count ("1,000" is "1000"), a sentence's final stop neither.
fn facts(text: &str) -> Vec<String> {
    FACTS
        .find_iter(text)
        .map(|m| ungrouped(m.as_str().trim_end_matches(['.', ',', ':', ';', '!', '?'])))
        .collect()
}

/// The word; a number without the commas before its groups of three digits.
fn ungrouped(word: &str) -> String {
    let whole = word.split('.').next().unwrap_or(word);
    let mut groups = whole.split(',');
    let is_grouped = groups.next().is_some_and(|head| head.ends_with(|c: char| c.is_ascii_digit()))
        && whole.contains(',')
        && groups.all(|g| g.len() == 3 && g.bytes().all(|b| b.is_ascii_digit()));
    if is_grouped { word.replace(',', "") } else { word.to_owned() }
}

/// What compares word by word. An indented line begins with its indentation: in
/// code and in YAML it says to what the line belongs.
fn words(text: &str) -> Vec<String> {
    let lines: Vec<(&str, Vec<&str>)> = text
        .lines()
        .map(|line| (line.strip_suffix(line.trim_start()).unwrap_or_default(), tokens(line)))
        .filter(|(_, tokens)| !tokens.is_empty())
        .collect();
    let alone = |token: &&str| !token.contains(char::is_alphanumeric) && token.contains(is_operator);
    let notation = lines.iter().any(|(_, tokens)| tokens.iter().any(alone));
    let mut words = Vec::new();
    for (i, (indent, tokens)) in lines.iter().enumerate() {
        // A comment ends with its line, and so does a statement.
        if i > 0 && notation {
            words.push("\n".to_owned());
        }
        if i > 0 && !indent.is_empty() {
            words.push((*indent).to_owned());
        }
        words.extend(tokens.iter().filter_map(|token| word(token, notation)));
    }
    words
}

/// A line between its white space; the mark of a list's line is the same for all.
fn tokens(line: &str) -> Vec<&str> {
    let mut tokens: Vec<&str> = line.split_whitespace().collect();
    if let [first, next, ..] = tokens.as_mut_slice()
        && BULLETS.contains(&*first)
        && next.chars().take_while(|c| c.is_alphabetic()).count() > 1
    {
        *first = "•";
    }
    tokens
}

/// A sign that reckons, relates or joins, the arrows and operators of Unicode included.
pub(super) fn is_operator(c: char) -> bool {
    matches!(c, '+' | '-' | '*' | '/' | '=' | '<' | '>' | '^' | '|' | '~' | '\\' | '×' | '÷' | '±' | '¬')
        || ('\u{2190}'..='\u{22ff}').contains(&c)
}

/// The word as it compares; `None` for punctuation that stands apart.
fn word(token: &str, notation: bool) -> Option<String> {
    if !token.contains(char::is_alphanumeric) {
        return (notation || !is_punctuation(token)).then(|| token.to_owned());
    }
    let word =
        ungrouped(if notation { token.trim_end_matches(['.', ',', ';', ':']) } else { trimmed(token) });
    // N and n are two variables.
    let is_variable = notation && word.chars().nth(1).is_none();
    Some(if is_variable { word } else { word.to_lowercase() })
}

/// Whether a token is nothing but punctuation, as in "Bonjour !". A lone "." or
/// ".." is a folder, and a smile has more than stops.
fn is_punctuation(token: &str) -> bool {
    let only = |of: &[char]| token.chars().all(|c| of.contains(&c));
    only(&QUOTES) || (only(&STOPS) && !matches!(token, "." | ".."))
}

/// The word without a sentence's punctuation around it. A bracket before a number
/// stays, since accounts write a loss so, and a quote after one, which is a unit.
/// Of the stops only those at the end go: `!ready` and `.5` mean something else.
fn trimmed(token: &str) -> &str {
    let mut word = token;
    while let Some(rest) =
        word.strip_prefix(|c: char| QUOTES.contains(&c) || matches!(c, '(' | '（' | '¡' | '¿'))
    {
        let begins = rest.chars().find(|c| c.is_alphanumeric());
        if word.starts_with(['(', '（']) && begins.is_some_and(char::is_numeric) {
            break;
        }
        word = rest;
    }
    let is_quoted = token.starts_with(QUOTES);
    while let Some(rest) =
        word.strip_suffix(|c: char| STOPS.contains(&c) || QUOTES.contains(&c) || matches!(c, ')' | '）'))
    {
        if !is_quoted && word.ends_with(['"', '\'']) && rest.ends_with(char::is_numeric) {
            break;
        }
        word = rest;
    }
    word
}
