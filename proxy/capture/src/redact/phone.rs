use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::card::digits;
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
            international: Regex::new(r"\+[1-9](?:[ .()/-]{0,2}\d){7,14}\b").ok(),
            american: Regex::new(
                r"(?:\b1[ .-])?(?:\([2-9]\d{2}\) ?\d{3}[-. ]\d{4}|\b[2-9]\d{2}-\d{3}-\d{4}|\b[2-9]\d{2}\.\d{3}\.\d{4})\b",
            )
            .ok(),
            announced: Regex::new(
                r"(?i)\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|telefon|handy|call me (?:at|on)|reach me (?:at|on)|(?:phone|mobile|contact|telephone)[ _]number)(?: (?:is|number|no\.?))?[.:# ]{1,3}(\(?\d(?:[ .()/-]{0,2}\d){6,13})\b",
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
            if is_international(m.as_str()) && !glued(text, &m.range()) {
                out.push(m.range());
            }
        }
        for m in self.american.iter().flat_map(|r| r.find_iter(text)) {
            if !glued(text, &m.range()) {
                out.push(m.range());
            }
        }
        for c in self.announced.iter().flat_map(|r| r.captures_iter(text)) {
            if let Some(m) = c.get(1)
                && !glued(text, &m.range())
            {
                out.push(m.range());
            }
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
        c.is_alphanumeric() || matches!(c, '-' | '.' | '/' | '_' | '=' | '#' | '$' | '€' | '£' | '+')
    }) || next.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '=' | '%'))
        || (next.is_some_and(|c| matches!(c, '-' | '.' | '/' | ','))
            && second.is_some_and(char::is_alphanumeric))
}
