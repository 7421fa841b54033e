use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::card::thousands;
use super::digit;
use super::digit::all as digits;
use super::each::each;
use super::keys::{may_name_a_number, names_a_number};
use super::{Detector, Draw, Glance};

pub(super) const KIND: &str = "phone";

/// Telephone numbers that show themselves as such: with `+` and a country code
/// (E.164), in the groups of North America, or after a word that announces one.
/// A bare row of digits is left alone: it may be an order, an amount, a date.
pub struct Phone {
    international: Option<Regex>,
    american: Option<Regex>,
    announced: Option<Regex>,
    /// Likewise after a word that means nothing else, as a name in code or a key of JSON
    /// that is not looked at as JSON: with a `_` before it, quotes, or a `=` after it.
    labelled: Option<Regex>,
    /// A date that a text begins with.
    date: Option<Regex>,
    /// The number that a text begins with.
    leading: Option<Regex>,
    /// A piece of each word that announces one.
    announcing: Option<Regex>,
}

impl Phone {
    pub(super) fn new() -> Self {
        Self {
            international: Regex::new(r"\+[1-9](?:[ .()/\u{a0}\u{202f}\u{2011}-]{0,2}\d){7,14}\b").ok(),
            american: Regex::new(
                r"(?:\b1[ .\u{a0}\u{202f}\u{2011}-])?(?:\([2-9]\d{2}\)[ \u{a0}\u{202f}]?\d{3}[ .\u{a0}\u{202f}\u{2011}-]\d{4}|\b[2-9]\d{2}[\u{2011}-]\d{3}[\u{2011}-]\d{4}|\b[2-9]\d{2}\.\d{3}\.\d{4})\b",
            )
            .ok(),
            announced: Regex::new(
                r"(?i)\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|telefon|handy|call me (?:at|on)|reach me (?:at|on)|(?:phone|mobile|contact|telephone)[ _]number)(?: (?:is|number|no\.?))?[.:# \u{a0}\u{202f}]{1,3}(\(?\d(?:[ .()/\u{a0}\u{202f}\u{2011}-]{0,2}\d){6,13})\b",
            )
            .ok(),
            // Not `mobile` and `cell`: those of code and of tables count bytes and users.
            labelled: Regex::new(
                r"(?i)(?:\b|_)(?:tel|telephone|phone|fax|telefon|(?:phone|mobile|contact|telephone)[ _]number)(?: (?:is|number|no\.?))?[\x22'.:=# \u{a0}\u{202f}]{1,5}(\(?\d(?:[ .()/\u{a0}\u{202f}\u{2011}-]{0,2}\d){6,13})\b",
            )
            .ok(),
            leading: Regex::new(r"^\s*(\+?\(?\d(?:[ .()/\u{a0}\u{202f}\u{2011}-]{0,2}\d){6,14})\b").ok(),
            date: dates(),
            // Pieces without k and s, which have relatives outside ASCII.
            announcing: Regex::new("(?i-u:tel|phone|mobil|cell|fax|what|handy|call me|reach me|contact)").ok(),
        }
    }

    fn is_announced(&self, text: &str) -> bool {
        self.announcing.as_ref().is_none_or(|r| r.is_match(text))
    }

    /// The number at the beginning of what a word or a key announces. A date is none, nor
    /// is it the beginning of one: `call me on 2024-06-15 10:00`.
    fn named(&self, text: &str, at: Range<usize>) -> Option<Range<usize>> {
        let plain: String = text.get(at.clone())?.chars().map(|c| digit::plain(c).unwrap_or(c)).collect();
        if self.date.as_ref().is_some_and(|r| r.is_match(&plain)) {
            return None;
        }
        number(text, at, is_long_enough)
    }
}

/// Dates in digits: the year first or last, before or after the day and the month in
/// either order, or all in one row. Only years and days that a calendar has, for there
/// are telephone numbers in groups of as many digits.
fn dates() -> Option<Regex> {
    let (year, month, day) = ("(?:19|20)[0-9][0-9]", "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])");
    let row = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])";
    let by = r"[-./\u{2011}]";
    let orders = [
        format!("{year}{by}{month}{by}{day}"),
        format!("{day}{by}{month}{by}{year}"),
        format!("{month}{by}{day}{by}{year}"),
        format!("{year}{row}"),
    ];
    Regex::new(&format!(r"^\(?(?:{})\b", orders.join("|"))).ok()
}

impl Detector for Phone {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn may_find(&self, text: &str, glance: &Glance) -> bool {
        match glance.row {
            0..7 => false,
            7..10 => (glance.row > 7 && text.contains('+')) || self.is_announced(text),
            // Every American form ends so.
            _ => glance.three_and_four || text.contains('+') || self.is_announced(text),
        }
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        for m in self.international.iter().flat_map(|r| r.find_iter(text)) {
            out.extend(number(text, m.range(), is_international));
        }
        each(self.american.as_ref(), text, out, |m| (!glued(text, &m, false)).then_some(m));
        let patterns = self.announced.iter().chain(&self.labelled);
        for c in patterns.flat_map(|r| r.captures_iter(text)) {
            let Some(m) = c.get(1) else { continue };
            out.extend(self.named(text, m.range()));
        }
    }

    fn find_under(&self, key: &str, text: &str, out: &mut Vec<Range<usize>>) {
        let is_named = names_a_number(key);
        if !is_named && !may_name_a_number(key) {
            return;
        }
        let Some(m) = self.leading.as_ref().and_then(|r| r.captures(text)).and_then(|c| c.get(1)) else {
            return;
        };
        let found = self.named(text, m.range());
        out.extend(found.filter(|at| is_named || text.get(at.clone()).is_some_and(is_dialled)));
    }

    fn is_sought(&self) -> bool {
        true
    }

    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        Cow::Owned(national(&digits(value)).to_owned())
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        stand_in(value, draw)
    }
}

pub(super) fn stand_in(value: &str, draw: &mut Draw) -> String {
    let all = digits(value);
    // What is kept: the country code (one digit, or two as a rough cut), a trunk 0 or 1.
    let kept = match (value.starts_with('+'), all.len()) {
        (true, _) if all.starts_with(['1', '7']) => 1,
        (true, _) => 2,
        (false, 11) if all.starts_with('1') => 1,
        (false, _) => usize::from(all.starts_with('0')),
    };
    let mut at = 0;
    value
        .chars()
        .map(|c| {
            // Each digit in its own script.
            let Some((zero, _)) = digit::of(c) else { return c };
            at += 1;
            if at <= kept {
                return c;
            }
            // No area code begins with 0 or 1.
            let new = if at == kept + 1 { 2 + draw.below(8) } else { draw.below(10) };
            char::from_u32(zero + new).unwrap_or(c)
        })
        .collect()
}

/// The same with the country code of North America and without.
pub(super) fn national(digits: &str) -> &str {
    digits.strip_prefix('1').filter(|rest| rest.len() == 10).unwrap_or(digits)
}

/// Whether this may stand between two groups of a number.
pub(super) fn is_between(c: char) -> bool {
    matches!(c, ' ' | '.' | '(' | ')' | '/' | '-' | '\u{a0}' | '\u{202f}' | '\u{2011}')
}

/// Digits of the shortest number that a word announces.
pub(super) const LEAST: usize = 7;

/// Digits in one group that are a whole number by themselves, beside a country code.
const WHOLE: usize = 10;

/// The number that a match begins with. A match takes all the digits that it can get:
/// of a date, a time or an amount that follows the number, too.
fn number(text: &str, at: Range<usize>, is_one: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let value = text.get(at.clone())?;
    let ends = group_ends(value);
    let upto = |end: usize| value.get(..end).unwrap_or_default();
    let fits = |end: &usize| is_one(upto(*end)) && !glued(text, &(at.start..at.start + end), true);
    let sure = |end: &usize| !runs_on(upto(*end), text.get(at.start + end..).unwrap_or_default());
    let whole = WHOLE + usize::from(value.starts_with('+'));
    let alone = ends.first().copied().filter(|end| digits(upto(*end)).len() >= whole && fits(end));
    let longest = || ends.iter().rev().copied().filter(fits);
    let end = alone.or_else(|| longest().find(sure)).or_else(|| longest().next())?;
    Some(at.start..at.start + end)
}

/// Where the groups of digits end.
fn group_ends(value: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut was_digit = false;
    for (i, c) in value.char_indices() {
        if was_digit && !c.is_numeric() {
            ends.push(i);
        }
        was_digit = c.is_numeric();
    }
    ends.push(value.len());
    ends
}

/// Whether the last group is rather what follows the number: one digit by itself, as of
/// `2 adults`, or the hour of a time.
fn runs_on(value: &str, after: &str) -> bool {
    let mut back = value.chars().rev().skip(1);
    let by_itself = matches!(back.next(), Some(' ' | '\u{a0}' | '\u{202f}'))
        && back.next().is_some_and(char::is_numeric)
        && back.next().is_some_and(char::is_numeric);
    let mut after = after.chars();
    by_itself || (after.next() == Some(':') && after.next().is_some_and(|c| c.is_ascii_digit()))
}

fn is_long_enough(value: &str) -> bool {
    digits(value).len() >= LEAST
}

/// Whether it is written as people write telephone numbers and programs write no counts: a
/// `+` or a trunk 0 first, or in groups. One point makes a decimal of it, not groups.
fn is_dialled(value: &str) -> bool {
    let between: String = value.chars().filter(|c| digit::of(*c).is_none()).collect();
    let trunk = value.chars().next().and_then(digit::plain) == Some('0');
    (trunk && !value.starts_with("0.")) || !(between.is_empty() || between == ".")
}

fn is_international(value: &str) -> bool {
    let d = digits(value);
    let grouped = value.chars().skip(1).any(|c| digit::of(c).is_none());
    match d.len() {
        _ if d.starts_with('1') => d.len() == 11,
        8..=9 => grouped,
        n => (10..=15).contains(&n),
    }
}

/// Part of a longer word, number, id or path. What is `named` may have a `=` before it.
pub(super) fn glued(text: &str, at: &Range<usize>, named: bool) -> bool {
    let before = text.get(..at.start).unwrap_or_default();
    let upto = text.get(..at.end).unwrap_or_default();
    let after = text.get(at.end..).unwrap_or_default();
    // A `+` begins a number wherever it stands.
    let plus = text.get(at.clone()).is_some_and(|value| value.starts_with('+'));
    let mut rest = after.chars();
    let (next, second) = (rest.next(), rest.next());
    let joins_before = before.chars().next_back().is_some_and(|c| match c {
        '=' => !plus && !named,
        '-' | '\u{2011}' | '.' | '/' | '_' | '#' | '$' | '€' | '£' | '+' => true,
        c => c.is_alphanumeric(),
    });
    joins_before
        || next.is_some_and(|c| match c {
            '_' | '%' => true,
            '=' => !plus,
            ',' => !plus && thousands(upto, after.get(1..).unwrap_or_default()),
            // A sentence ends there, and the next begins without a space.
            '.' => second.is_some_and(|c| c.is_alphanumeric() && !c.is_alphabetic()),
            '-' | '\u{2011}' | '/' => second.is_some_and(char::is_alphanumeric),
            c => c.is_alphanumeric(),
        })
}
