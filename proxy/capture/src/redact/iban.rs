use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::each::each;
use super::{Detector, Draw, Glance};

/// International bank account numbers: ISO 13616, check digits by ISO 7064 mod 97-10.
pub struct Iban(Option<Regex>);

impl Iban {
    pub(super) fn new() -> Self {
        Self(Regex::new(r"\b[A-Z]{2}\d{2}(?:[ \u{a0}\u{202f}\u{2011}-]?[A-Z0-9]){11,30}").ok())
    }
}

impl Detector for Iban {
    fn kind(&self) -> &'static str {
        "iban"
    }

    fn may_find(&self, _: &str, glance: &Glance) -> bool {
        glance.capitals_then_digit
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        each(self.0.as_ref(), text, out, |m| account(text, m));
    }

    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        Cow::Owned(compact(value))
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        let compact = compact(value);
        let (country, rest) = compact.split_at_checked(2).unwrap_or((&compact, ""));
        let account: String = rest.chars().skip(2).map(|c| draw.like(c)).collect();
        let check = mod97(&format!("{country}00{account}")).map_or(0, |r| 98 - r);
        let new = format!("{country}{check:02}{account}");
        let mut next = new.chars();
        value.chars().map(|c| if c.is_ascii_alphanumeric() { next.next().unwrap_or(c) } else { c }).collect()
    }
}

/// The account's number that a match begins with. The match may run on into the next
/// words, or into the next number: the country says where it ends.
fn account(text: &str, at: Range<usize>) -> Option<Range<usize>> {
    let matched = text.get(at.clone())?;
    let last = length(matched)?.checked_sub(1)?;
    let mut characters = matched.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric());
    let end = at.start + characters.nth(last)?.0 + 1;
    let value = text.get(at.start..end)?;
    let ends = !text.get(end..)?.chars().next().is_some_and(char::is_alphanumeric);
    (ends && mod97(&compact(value)) == Some(1)).then_some(at.start..end)
}

fn compact(value: &str) -> String {
    value.chars().filter(char::is_ascii_alphanumeric).collect()
}

pub(super) fn mod97(iban: &str) -> Option<u32> {
    let (front, rest) = iban.split_at_checked(4)?;
    rest.chars().chain(front.chars()).try_fold(0u32, |r, c| {
        let v = c.to_digit(36)?;
        Some(if v < 10 { r * 10 + v } else { r * 100 + v } % 97)
    })
}

/// Length by country, from the IBAN registry (SWIFT, release 99).
fn length(text: &str) -> Option<usize> {
    const LENGTHS: &[(usize, &str)] = &[
        (15, "NO"),
        (16, "BE"),
        (18, "DK FK FI FO GL NL SD"),
        (19, "MK SI"),
        (20, "AT BA EE KZ LT LU MN XK"),
        (21, "CH HR LI LV"),
        (22, "BG BH CR DE GB GE IE ME RS VA"),
        (23, "AE GI IL IQ OM SO TL"),
        (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
        (25, "LY PT ST"),
        (26, "IS TR"),
        (27, "BI DJ FR GR IT MC MR SM"),
        (28, "AL AZ BY CY DO GT HU LB NI PL SV"),
        (29, "BR EG PS QA UA"),
        (30, "JO KW MU YE"),
        (31, "MT SC"),
        (32, "LC"),
        (33, "RU"),
    ];
    let country = text.get(..2)?;
    LENGTHS.iter().find(|(_, all)| all.split(' ').any(|c| c == country)).map(|(n, _)| *n)
}
