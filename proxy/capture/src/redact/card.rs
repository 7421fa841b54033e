use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::{Detector, Draw, Glance};

/// Numbers of payment cards: digits, alone or in groups, that begin like a network's
/// numbers, have its length, and pass Luhn's check (ISO/IEC 7812).
pub struct Card(Option<Regex>);

/// Digits of the shortest number.
pub(super) const SHORTEST: usize = 14;

impl Card {
    pub(super) fn new() -> Self {
        Self(Regex::new(r"\b\d(?:[ -]?\d){13,18}\b").ok())
    }
}

impl Detector for Card {
    fn kind(&self) -> &'static str {
        "card"
    }

    fn may_find(&self, _: &str, glance: &Glance) -> bool {
        glance.row >= SHORTEST
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        for m in self.0.iter().flat_map(|r| r.find_iter(text)) {
            if is_card(&digits(m.as_str())) && stands_alone(text, &m.range()) {
                out.push(m.range());
            }
        }
    }

    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        Cow::Owned(digits(value))
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        let n = digits(value).len();
        let mut number: Vec<u32> = digits(value).chars().take(4).filter_map(|c| c.to_digit(10)).collect();
        while number.len() + 1 < n {
            number.push(draw.below(10));
        }
        number.push(0);
        let check = (10 - luhn(&number) % 10) % 10;
        if let Some(last) = number.last_mut() {
            *last = check;
        }
        let mut next = number.into_iter().filter_map(|d| char::from_digit(d, 10));
        value.chars().map(|c| if c.is_ascii_digit() { next.next().unwrap_or(c) } else { c }).collect()
    }
}

pub(super) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Luhn's sum; a multiple of ten for a valid number.
pub(super) fn luhn(number: &[u32]) -> u32 {
    let doubled = |d: u32| if d > 4 { 2 * d - 9 } else { 2 * d };
    number.iter().rev().enumerate().map(|(i, &d)| if i % 2 == 1 { doubled(d) } else { d }).sum()
}

/// Networks by their first digits and lengths (the ranges that issuers use; the rare
/// 19-digit Visa is left out, since long ids begin with 4 too).
#[expect(clippy::match_like_matches_macro, reason = "a table of networks reads better than one pattern")]
fn is_card(number: &str) -> bool {
    let starts = |n: usize| number.get(..n).and_then(|s| s.parse::<u32>().ok()).unwrap_or(0);
    let network = match (number.len(), starts(1), starts(2), starts(3), starts(4)) {
        (16, 4, ..) => true,
        (16, _, 51..=55, ..) | (16, _, _, _, 2221..=2720) => true,
        (15, _, 34 | 37, ..) => true,
        (16, _, 65, ..) | (16, _, _, 644..=649, _) | (16, _, _, _, 6011 | 3528..=3589) => true,
        (14, _, 36 | 38 | 39, ..) | (14, _, _, 300..=305, _) => true,
        (16..=19, _, 62, ..) => true,
        (16, _, 50 | 56..=58 | 63 | 67, ..) => true,
        _ => false,
    };
    let one_digit_over = number.bytes().all(|b| Some(b) == number.bytes().next());
    network
        && !one_digit_over
        && luhn(&number.chars().filter_map(|c| c.to_digit(10)).collect::<Vec<_>>()).is_multiple_of(10)
}

/// Not a piece of a longer number, a decimal or an id in groups.
fn stands_alone(text: &str, at: &Range<usize>) -> bool {
    let before: Vec<char> = text.get(..at.start).unwrap_or_default().chars().rev().take(2).collect();
    let after: Vec<char> = text.get(at.end..).unwrap_or_default().chars().take(2).collect();
    let joins = |near: Option<&char>, far: Option<&char>| {
        near.is_some_and(|c| matches!(c, '.' | ',' | '-' | '+' | '_' | '/'))
            && far.is_some_and(|c| c.is_alphanumeric())
    };
    !joins(before.first(), before.get(1)) && !joins(after.first(), after.get(1))
}
