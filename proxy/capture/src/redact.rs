//! Replaces personal data and secrets by stand-ins before anything is written.
//!
//! A stand-in is drawn from a keyed hash of the value: the same value has the same
//! stand-in everywhere, so mixing up two people still counts as disagreement, and an
//! id that a tool returned is still the id that comes back as an argument. It keeps
//! the value's format: a card number passes Luhn, an IBAN has its check digits, a
//! telephone number keeps its separators. Whatever is not one of the detectors'
//! kinds stays as it is, numbers above all.
//!
//! | kind | what is found | stand-in |
//! | --- | --- | --- |
//! | [`Email`] | addresses | letters for letters, in a domain under `.example` |
//! | [`Phone`] | `+` and a country code, North American groups, digits after a word or under a key like "tel" | same country code, separators and length |
//! | [`Card`] | 14 to 19 digits of a card network that pass Luhn | same first four digits, passes Luhn |
//! | [`Iban`] | right length for the country, check digits right | same country, check digits right |
//! | [`Jwt`] | three base64url parts, the first a JSON object | same lengths |
//! | [`Secret`] | keys known by their prefix, PEM private keys | same prefix and lengths |

mod card;
mod clean;
mod digit;
mod draw;
mod each;
mod email;
mod escapes;
mod exchange;
mod glance;
mod iban;
mod json;
mod keys;
mod noted;
mod nouns;
mod phone;
mod secret;
mod told;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use clean::Clean;
use escapes::Unescaped;

pub use card::Card;
pub use draw::Draw;
pub use email::Email;
pub use glance::Glance;
pub use iban::Iban;
use noted::Noted;
pub use phone::Phone;
pub use secret::{Jwt, Secret};

/// Finds values of one kind and makes stand-ins for them.
pub trait Detector: Send + Sync {
    /// The kind's name. Values of different kinds have stand-ins of their own.
    fn kind(&self) -> &'static str;

    /// Whether anything of the kind may be in the text, by a quick look. Where it
    /// says no, [`Detector::find`] is not asked, and would find nothing.
    fn may_find(&self, text: &str, glance: &Glance) -> bool {
        let _ = (text, glance);
        true
    }

    /// Byte ranges of the values in a text, each on character borders.
    fn find(&self, text: &str, out: &mut Vec<Range<usize>>);

    /// Likewise in a text that is the value of this JSON key: of values that only the key
    /// gives away.
    fn find_under(&self, key: &str, text: &str, out: &mut Vec<Range<usize>>) {
        let _ = (key, text, out);
    }

    /// Whether values that are found in a part of an exchange are looked for, digit by
    /// digit, in every other. Only those that are too long to be an amount or a date are.
    fn is_sought(&self) -> bool {
        false
    }

    /// What makes two writings the same value: by default the text itself.
    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(value)
    }

    /// A stand-in that keeps the value's format; all chance comes from `draw`, which
    /// is seeded by the canonical value.
    fn stand_in(&self, value: &str, draw: &mut Draw) -> String;
}

/// Shorter than anything that is found: the shortest address has six characters.
const SHORTEST: usize = 6;

/// And shorter than anything that is found without a digit and an `@`: a JWT.
const SHORTEST_OF_LETTERS: usize = 29;

/// Every detector. Where two find the same place, the earlier start counts, then the
/// longer, then the first of these.
fn every() -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(Jwt::new()),
        Box::new(Secret::new()),
        Box::new(Email::new()),
        Box::new(Iban::new()),
        Box::new(Card::new()),
        Box::new(Phone::new()),
    ]
}

/// Replaces values by stand-ins in texts and in calls.
pub struct Redactor {
    key: [u8; 32],
    detectors: Vec<Box<dyn Detector>>,
    /// A shorter text is not looked at.
    shortest: usize,
    /// `None` with detectors that are not ours: theirs may find what they like.
    clean: Option<Mutex<Clean>>,
    tools: nouns::KnownTools,
    schemas: nouns::KnownSchemas,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.detectors.iter().map(|d| d.kind())).finish()
    }
}

impl Redactor {
    /// With every detector of this crate.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { shortest: SHORTEST, clean: Some(Mutex::default()), ..Self::with(key, every()) }
    }

    /// With detectors of your own.
    #[must_use]
    pub fn with(key: [u8; 32], detectors: Vec<Box<dyn Detector>>) -> Self {
        let key = blake3::derive_key("understudy 2026-11 journal: stand-ins", &key);
        Self { key, detectors, shortest: 0, clean: None, tools: Mutex::default(), schemas: Mutex::default() }
    }

    /// Replaces what is found in a text. JSON is looked at string by string.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.text_noting(text, &mut Noted::default())
    }

    fn text_noting<'a>(&self, text: &'a str, noted: &mut Noted) -> Cow<'a, str> {
        self.text_under(None, text, noted)
    }

    /// A text that is the value of a JSON key.
    fn text_under<'a>(&self, key: Option<&str>, text: &'a str, noted: &mut Noted) -> Cow<'a, str> {
        let is_kept = Clean::takes(text) && noted.sought().is_none();
        let Some(clean) = self.clean.as_ref().filter(|_| is_kept) else {
            return json::redact(self, text, key, 0, noted);
        };
        // What is kept is known by the text alone, and is too long for a number that
        // only its key gives away.
        // What a panic leaves is as good: texts are kept whole.
        if clean.lock().unwrap_or_else(PoisonError::into_inner).knows(text) {
            return Cow::Borrowed(text);
        }
        let redacted = json::redact(self, text, None, 0, noted);
        if matches!(redacted, Cow::Borrowed(_)) {
            clean.lock().unwrap_or_else(PoisonError::into_inner).keep(text);
        }
        redacted
    }

    /// The same in place; says whether anything changed.
    pub fn replace(&self, text: &mut String) -> bool {
        self.replace_noting(text, &mut Noted::default())
    }

    fn replace_noting(&self, text: &mut String, noted: &mut Noted) -> bool {
        self.replace_under(None, text, noted)
    }

    fn replace_under(&self, key: Option<&str>, text: &mut String, noted: &mut Noted) -> bool {
        match self.text_under(key, text, noted) {
            Cow::Borrowed(_) => false,
            Cow::Owned(new) => {
                *text = new;
                true
            }
        }
    }

    /// Whether nothing can be found in this text, or in any piece of it.
    fn holds_nothing(&self, text: &str, noted: &Noted) -> bool {
        let glance = Glance::of(text);
        if noted.sought().is_some() {
            return glance.row < told::LEAST;
        }
        !self.detectors.iter().any(|d| d.may_find(text, &glance))
    }

    /// A text that is not JSON, or not whole.
    fn plain<'a>(&self, text: &'a str, key: Option<&str>, noted: &mut Noted) -> Cow<'a, str> {
        if text.len() < self.shortest || (self.shortest > 0 && is_a_word(text)) {
            return Cow::Borrowed(text);
        }
        if escapes::may_have_them(text) {
            if escapes::hide_nothing(text) && self.holds_nothing(text, noted) {
                return Cow::Borrowed(text);
            }
            if let Some(unescaped) = Unescaped::of(text) {
                let stand_ins = self.stand_ins(unescaped.text(), key, noted);
                return if stand_ins.is_empty() {
                    Cow::Borrowed(text)
                } else {
                    Cow::Owned(unescaped.with(&stand_ins))
                };
            }
        }
        let stand_ins = self.stand_ins(text, key, noted);
        if stand_ins.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for (range, new) in stand_ins {
            out.push_str(text.get(done..range.start).unwrap_or_default());
            out.push_str(&new);
            done = range.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// What stands for what is found, in order and apart.
    fn stand_ins(&self, text: &str, key: Option<&str>, noted: &mut Noted) -> Vec<(Range<usize>, String)> {
        if let Some(told) = noted.sought().cloned() {
            return self.again(text, &told, noted);
        }
        let glance = Glance::of(text);
        let mut found: Vec<(Range<usize>, &dyn Detector)> = Vec::new();
        let mut ranges = Vec::new();
        for d in self.detectors.iter().filter(|d| d.may_find(text, &glance)) {
            d.find(text, &mut ranges);
            found.extend(ranges.drain(..).map(|r| (r, &**d)));
        }
        // Whatever shows itself is what it shows, under any key.
        if let Some(key) = key.filter(|_| glance.row > 0) {
            for d in &self.detectors {
                d.find_under(key, text, &mut ranges);
                ranges
                    .retain(|r| found.iter().all(|(other, _)| other.end <= r.start || r.end <= other.start));
                found.extend(ranges.drain(..).map(|r| (r, &**d)));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
        let mut out = Vec::with_capacity(found.len());
        let mut done = 0;
        for (range, detector) in found {
            let Some(value) = text.get(range.clone()).filter(|_| range.start >= done) else { continue };
            let canonical = detector.canonical(value);
            let mut draw = Draw::new(&self.key, detector.kind(), &canonical);
            noted.note(&draw);
            if detector.is_sought() {
                noted.tell(&canonical, value);
            }
            done = range.end;
            out.push((range, detector.stand_in(value, &mut draw)));
        }
        out
    }
}

/// A name, a type, a key of a schema: most of a call's strings.
fn is_a_word(text: &str) -> bool {
    text.len() < SHORTEST_OF_LETTERS && text.bytes().all(|b| b.is_ascii() && !b.is_ascii_digit() && b != b'@')
}

#[cfg(test)]
mod tests;
