use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use super::{Detector, Draw, Glance};

/// E-mail addresses. The stand-in's domain ends in `.example`, which nobody can own
/// (RFC 2606), so that it is never another person's address.
pub struct Email(Option<Regex>);

impl Email {
    pub(super) fn new() -> Self {
        // RFC 5321's and 1035's bounds on lengths are left out: each `{0,63}` of a
        // Unicode class is 64 copies of its automaton, some 15 MiB. What is longer
        // than they permit is replaced too, and whole.
        // A letter may be written with its marks after it: `u` and two dots.
        Self(
            Regex::new(concat!(
                r"[\p{L}\p{N}][\p{L}\p{N}\p{M}._%+'-]*",
                r"@(?:[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+\p{L}[\p{L}\p{M}]+",
            ))
            .ok(),
        )
    }
}

impl Detector for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn may_find(&self, text: &str, _: &Glance) -> bool {
        text.contains('@')
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        out.extend(self.0.iter().flat_map(|r| r.find_iter(text)).map(|m| m.range()));
    }

    fn canonical<'a>(&self, value: &'a str) -> Cow<'a, str> {
        Cow::Owned(value.to_lowercase())
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        let (local, domain) = value.split_once('@').unwrap_or((value, ""));
        let stem: usize = domain.rsplit_once('.').map_or(domain, |(stem, _)| stem).chars().count();
        let mut out: String = local.chars().map(|c| draw.like(c)).collect();
        out.push('@');
        out.extend((0..stem.clamp(3, 20)).map(|_| draw.like('a')));
        out.push_str(".example");
        out
    }
}
