use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::{Detector, Draw, Glance};

/// Numbers of payment cards: digits, alone or in groups, that begin like a network's
/// numbers, have its length, and pass Luhn's check (ISO/IEC 7812). Other numbers may
/// stand beside one: a check number, a date, an amount.
pub struct Card(Option<Regex>);

/// Digits of the shortest number.
pub(super) const SHORTEST: usize = 14;
/// And of the longest.
const LONGEST: usize = 19;

impl Card {
    pub(super) fn new() -> Self {
        Self(Regex::new(r"\b\d+\b").ok())
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
        let mut row: Vec<Range<usize>> = Vec::new();
        for group in self.0.iter().flat_map(|r| r.find_iter(text)) {
            // Digits of other scripts are no card's.
            let goes_on = row.last().is_some_and(|last| joins(text.get(last.end..group.start())));
            if !goes_on || !group.as_str().is_ascii() {
                cards(text, &row, out);
                row.clear();
            }
            if group.as_str().is_ascii() {
                row.push(group.range());
            }
        }
        cards(text, &row, out);
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

/// Whether this may stand between two groups of a number.
fn joins(between: Option<&str>) -> bool {
    matches!(between, Some(" " | "-" | "\u{2011}" | "\u{a0}" | "\u{202f}"))
}

/// The numbers in a row of groups.
fn cards(text: &str, row: &[Range<usize>], out: &mut Vec<Range<usize>>) {
    let mut rest = row;
    while !rest.is_empty() {
        // The beginning of a row may be grouped as it likes: it was not chosen by us.
        let taken = longest(text, rest, rest.len() == row.len());
        let groups = rest.get(..taken).unwrap_or_default();
        if let (Some(first), Some(last)) = (groups.first(), groups.last()) {
            out.push(first.start..last.end);
        }
        rest = rest.get(taken.max(1)..).unwrap_or_default();
    }
}

/// How many of the first groups are a number, the most that are; 0 where none are.
/// There are 19 at most to look at.
fn longest(text: &str, groups: &[Range<usize>], grouped_anyhow: bool) -> usize {
    let Some(start) = groups.first().map(|g| g.start) else { return 0 };
    let (mut number, mut found, mut long_groups) = (String::new(), 0, true);
    for (i, group) in groups.iter().enumerate() {
        let Some(digits) = text.get(group.clone()) else { break };
        if number.len() + digits.len() > LONGEST {
            break;
        }
        number.push_str(digits);
        let next = groups.get(i + 1).map_or(usize::MAX, |group| group.len());
        let is_all = grouped_anyhow && number.len().saturating_add(next) > LONGEST;
        // 4 4 4 4, 4 6 5, 4 4 4 4 3 or all in one: pieces of a table seldom are.
        let as_cards_are = long_groups && digits.len() >= 3;
        if (is_all || as_cards_are) && is_card(&number) && stands_alone(text, &(start..group.end)) {
            found = i + 1;
        }
        long_groups &= digits.len() >= 4;
    }
    found
}

/// Not a piece of a longer number, a decimal or an id in groups.
fn stands_alone(text: &str, at: &Range<usize>) -> bool {
    let before = text.get(..at.start).unwrap_or_default();
    let upto = text.get(..at.end).unwrap_or_default();
    let (from, after) = (text.get(at.start..).unwrap_or_default(), text.get(at.end..).unwrap_or_default());
    let (mut back, mut forth) = (before.chars().rev(), after.chars());
    let joins_before = match (back.next(), back.next()) {
        (Some(','), _) => thousands(before.strip_suffix(',').unwrap_or_default(), from),
        (Some(c), Some(far)) => joins_ids(c) && far.is_alphanumeric(),
        _ => false,
    };
    let joins_after = match (forth.next(), forth.next()) {
        (Some(','), _) => thousands(upto, after.get(1..).unwrap_or_default()),
        // A sentence ends there, and the next begins without a space.
        (Some('.'), Some(far)) => far.is_alphanumeric() && !far.is_alphabetic(),
        (Some(c), Some(far)) => joins_ids(c) && far.is_alphanumeric(),
        _ => false,
    };
    !joins_before && !joins_after
}

fn joins_ids(c: char) -> bool {
    matches!(c, '.' | '-' | '+' | '_' | '/' | '\u{2011}')
}

/// Whether a comma between these parts the thousands of one number: three digits after
/// it, and three at most before it. Other commas part the fields of a line.
pub(super) fn thousands(before: &str, after: &str) -> bool {
    let digits_before = before.bytes().rev().take_while(u8::is_ascii_digit).count();
    let digits_after = after.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits_before) && digits_after == 3
}
