//! Telephone numbers that one part of an exchange tells apart: the others may hold the
//! same digits with nothing beside them that says what they are.

use std::collections::HashMap;
use std::ops::Range;

use super::digit;
use super::phone::{self, glued, is_between, national};
use super::{Draw, Glance, Noted, Redactor};

/// Digits of the shortest number that is looked for. One of fewer may as well be an amount
/// or an id, and is replaced only where something says what it is.
pub(super) const LEAST: usize = 9;
/// Digits of the longest number (E.164).
const LONGEST: usize = 15;
/// Characters between two digits of one number.
const GAP: usize = 2;

/// The numbers, by what they are the same by, in memory only: they are not redacted.
#[derive(Clone, Default)]
pub(crate) struct Told(HashMap<String, bool>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Told({})", self.0.len())
    }
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number, as it was written there, if it is long enough to be told from others.
    pub(super) fn tell(&mut self, canonical: &str, value: &str) {
        if digit::all(canonical).len() >= LEAST && !self.0.contains_key(canonical) {
            self.0.insert(canonical.to_owned(), has_code(value));
        }
    }

    /// What was told first counts.
    pub(super) fn add(&mut self, other: &Self) {
        for (number, with_code) in &other.0 {
            self.0.entry(number.clone()).or_insert(*with_code);
        }
    }

    /// Where the numbers stand, and whether they begin with a country code.
    fn find(&self, text: &str) -> Vec<(Range<usize>, bool)> {
        let mut found = Vec::new();
        let mut number = String::new();
        let (mut done, mut was_digit) = (0, false);
        for (at, c) in text.char_indices() {
            let is_digit = digit::of(c).is_some();
            if is_digit
                && !was_digit
                && at >= done
                && let Some((end, with_code)) = self.longest(text, at, &mut number)
            {
                found.push((at..end, with_code));
                done = end;
            }
            was_digit = is_digit;
        }
        found
    }

    /// The longest number that begins here, in groups or not.
    fn longest(&self, text: &str, at: usize, number: &mut String) -> Option<(usize, bool)> {
        number.clear();
        let (mut gap, mut found) = (0, None);
        let mut rest = text.get(at..)?.char_indices().peekable();
        while let Some((i, c)) = rest.next() {
            match digit::plain(c) {
                Some(d) if number.len() < LONGEST => {
                    number.push(d);
                    gap = 0;
                }
                None if gap < GAP && is_between(c) => {
                    gap += 1;
                    continue;
                }
                _ => break,
            }
            let end = at + i + c.len_utf8();
            let group_ends = rest.peek().is_none_or(|(_, next)| digit::of(*next).is_none());
            if group_ends
                && number.len() >= LEAST
                && let Some(with_code) = self.0.get(national(number))
                && !glued(text, &(at..end), true)
            {
                found = Some((end, *with_code));
            }
        }
        found
    }
}

/// Whether it begins with a country code of which a stand-in keeps more digits than of
/// a number without. With that of North America and without it is the same number.
fn has_code(value: &str) -> bool {
    value.starts_with('+') && !value.starts_with("+1")
}

impl Redactor {
    /// What stands for the numbers that were told, in a text that was redacted already.
    pub(super) fn again(&self, text: &str, told: &Told, noted: &mut Noted) -> Vec<(Range<usize>, String)> {
        if Glance::of(text).row < LEAST {
            return Vec::new();
        }
        let mut out = Vec::new();
        for (range, with_code) in told.find(text) {
            let Some(value) = text.get(range.clone()) else { continue };
            let mut draw = Draw::new(&self.key, phone::KIND, national(&digit::all(value)));
            noted.note(&draw);
            out.push((range, stand_in(value, with_code, &mut draw)));
        }
        out
    }
}

/// The same digits as where it was told.
fn stand_in(value: &str, with_code: bool, draw: &mut Draw) -> String {
    if !with_code {
        return phone::stand_in(value, draw);
    }
    let new = phone::stand_in(&format!("+{value}"), draw);
    new.strip_prefix('+').map(str::to_owned).unwrap_or(new)
}
