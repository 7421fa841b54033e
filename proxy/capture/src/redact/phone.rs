use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::card::digits;
use super::each::each;
use super::{Detector, Draw, Glance};

/// Telephone numbers that show themselves as such: with `+` and a country code
/// (E.164), in the groups of North America, or after a word that announces one.
/// A bare row of digits is left alone: it may be an order, an amount, a date.
pub struct Phone {
    international: Option<Regex>,
    american: Option<Regex>,
    announced: Option<Regex>,
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
            // Pieces without k and s, which have relatives outside ASCII.
            announcing: Regex::new(
                "(?i-u:tel|phone|mobile|cell|fax|what|handy|call me|reach me|contact)",
            )
            .ok(),
        }
    }

    fn is_announced(&self, text: &str) -> bool {
        self.announcing.as_ref().is_none_or(|r| r.is_match(text))
    }
}

impl Detector for Phone {
    fn kind(&self) -> &'static str {
        "phone"
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
        each(self.american.as_ref(), text, out, |m| (!glued(text, &m)).then_some(m));
        for c in self.announced.iter().flat_map(|r| r.captures_iter(text)) {
            let Some(m) = c.get(1) else { continue };
            let is_one = |value: &str| value.chars().filter(|c| c.is_numeric()).count() >= LEAST;
            out.extend(number(text, m.range(), is_one));
        }
    }

    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        // With and without the country code of North America it is the same number.
        let d = digits(value);
        let short = d.strip_prefix('1').filter(|rest| rest.len() == 10).map(str::to_owned);
        Cow::Owned(short.unwrap_or(d))
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
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
                if !c.is_ascii_digit() {
                    return c;
                }
                at += 1;
                if at <= kept {
                    c
                } else if at == kept + 1 {
                    // No area code begins with 0 or 1.
                    char::from_digit(2 + draw.below(8), 10).unwrap_or(c)
                } else {
                    draw.digit()
                }
            })
            .collect()
    }
}

/// Digits of the shortest number that a word announces.
const LEAST: usize = 7;

/// Digits in one group that are a whole number by themselves, beside a country code.
const WHOLE: usize = 10;

/// The number that a match begins with. A match takes all the digits that it can get:
/// of a date, a time or an amount that follows the number, too.
fn number(text: &str, at: Range<usize>, is_one: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    let value = text.get(at.clone())?;
    let ends = group_ends(value);
    let upto = |end: usize| value.get(..end).unwrap_or_default();
    let fits = |end: &usize| is_one(upto(*end)) && !glued(text, &(at.start..at.start + end));
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

fn is_international(value: &str) -> bool {
    let d = digits(value);
    let grouped = value.chars().skip(1).any(|c| !c.is_ascii_digit());
    match d.len() {
        _ if d.starts_with('1') => d.len() == 11,
        8..=9 => grouped,
        n => (10..=15).contains(&n),
    }
}

/// Part of a longer word, number, id or path.
fn glued(text: &str, at: &Range<usize>) -> bool {
    let before = text.get(..at.start).and_then(|t| t.chars().next_back());
    let mut after = text.get(at.end..).unwrap_or_default().chars();
    let (next, second) = (after.next(), after.next());
    before.is_some_and(|c| {
        c.is_alphanumeric()
            || matches!(c, '-' | '\u{2011}' | '.' | '/' | '_' | '=' | '#' | '$' | '€' | '£' | '+')
    }) || next.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '=' | '%'))
        || (next.is_some_and(|c| matches!(c, '-' | '\u{2011}' | '.' | '/' | ','))
            && second.is_some_and(char::is_alphanumeric))
}
