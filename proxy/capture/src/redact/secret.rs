use std::ops::Range;

use regex::Regex;

use super::{Detector, Draw, Glance};

/// JSON Web Tokens (RFC 7519): three base64url parts, the first of a JSON object.
pub struct Jwt(Option<Regex>);

impl Jwt {
    pub(super) fn new() -> Self {
        Self(Regex::new(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}").ok())
    }
}

impl Detector for Jwt {
    fn kind(&self) -> &'static str {
        "jwt"
    }

    fn may_find(&self, text: &str, _: &Glance) -> bool {
        text.contains("eyJ")
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        out.extend(self.0.iter().flat_map(|r| r.find_iter(text)).map(|m| m.range()));
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        value.chars().enumerate().map(|(i, c)| if i < 3 { c } else { draw.like(c) }).collect()
    }
}

/// Keys that are known by their prefix, and private keys in PEM.
pub struct Secret {
    prefixed: Option<Regex>,
    /// The prefixes alone.
    prefixes: Option<Regex>,
    /// A private key, whole.
    pem: Option<Regex>,
    /// Its first line, and its last.
    begin: Option<Regex>,
    end: Option<Regex>,
}

impl Secret {
    pub(super) fn new() -> Self {
        // The prefix is group 1, and is kept. Where only letters follow it, it may be a
        // word in hyphens: such prefixes ask for a digit too, below.
        Self {
            prefixed: Regex::new(concat!(
                r"\b(?:",
                r"(sk-(?:ant-|proj-|or-|svcacct-|admin-|live-|test-)?)[A-Za-z0-9_-]{16,}",
                r"|((?:sk|rk|pk)_(?:live|test)_)[A-Za-z0-9]{16,}",
                r"|(whsec_)[A-Za-z0-9+/=]{16,}",
                r"|(AKIA|ASIA)[A-Z0-9]{16}\b",
                r"|(gh[pousr]_)[A-Za-z0-9]{30,}",
                r"|(github_pat_)[A-Za-z0-9_]{22,}",
                r"|(glpat-)[A-Za-z0-9_-]{20,}",
                r"|(xox[abeoprs]-)[A-Za-z0-9-]{10,}",
                r"|(xapp-)[A-Za-z0-9-]{20,}",
                r"|(AIza)[A-Za-z0-9_-]{35}",
                r"|(ya29\.)[A-Za-z0-9_-]{20,}",
                r"|(hf_)[A-Za-z0-9]{30,}",
                r"|(npm_)[A-Za-z0-9]{36}",
                r"|(pypi-)[A-Za-z0-9_-]{30,}",
                r"|(SG\.)[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
                r"|(dop_v1_)[a-f0-9]{64}",
                r"|(nvapi-)[A-Za-z0-9_-]{30,}",
                r"|(gsk_)[A-Za-z0-9]{30,}",
                r")",
            ))
            .ok(),
            prefixes: Regex::new(concat!(
                r"sk-|[srp]k_(?:live|test)_|whsec_|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-",
                r"|AIza|ya29\.|hf_|npm_|pypi-|SG\.|dop_v1_|nvapi-|gsk_",
            ))
            .ok(),
            pem: Regex::new(concat!(
                r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,-]*?",
                r"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----",
            ))
            .ok(),
            begin: Regex::new(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----").ok(),
            end: Regex::new(r"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----").ok(),
        }
    }

    /// A key's prefix is there, and a word long enough with a digit in it.
    fn may_be_prefixed(&self, text: &str, glance: &Glance) -> bool {
        glance.token && self.prefixes.as_ref().is_none_or(|r| r.is_match(text))
    }

    /// Private keys that were cut, or have lines between that are no key's.
    fn cut_keys(&self, text: &str, whole: &[Range<usize>], out: &mut Vec<Range<usize>>) {
        for begin in self.begin.iter().flat_map(|r| r.find_iter(text)) {
            let last = whole.partition_point(|key| key.end <= begin.start());
            if whole.get(last).is_some_and(|key| key.contains(&begin.start())) {
                continue;
            }
            let rest = text.get(begin.end()..).unwrap_or_default();
            let rest = rest.find("-----BEGIN").and_then(|next| rest.get(..next)).unwrap_or(rest);
            let Some(body) = body(rest) else { continue };
            let end = self.end.as_ref().and_then(|r| r.find(rest)).map_or(body, |end| end.end());
            out.push(begin.start()..begin.end() + end);
        }
    }

    fn kept(&self, value: &str) -> usize {
        let groups = self.prefixed.as_ref().and_then(|r| r.captures(value));
        groups.and_then(|c| c.iter().skip(1).flatten().next().map(|m| m.len())).unwrap_or(0)
    }
}

impl Detector for Secret {
    fn kind(&self) -> &'static str {
        "secret"
    }

    fn may_find(&self, text: &str, glance: &Glance) -> bool {
        self.may_be_prefixed(text, glance) || text.contains("PRIVATE KEY")
    }

    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        for c in self.prefixed.iter().flat_map(|r| r.captures_iter(text)) {
            let Some(all) = c.get(0) else { continue };
            if all.as_str().bytes().skip(3).any(|b| b.is_ascii_digit()) {
                out.push(all.range());
            }
        }
        if text.contains("PRIVATE KEY") {
            let whole: Vec<_> = self.pem.iter().flat_map(|r| r.find_iter(text)).map(|m| m.range()).collect();
            self.cut_keys(text, &whole, out);
            out.extend(whole);
        }
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        if value.starts_with("-----BEGIN") {
            let head = value.get(5..).and_then(|rest| rest.find("-----")).map_or(0, |i| i + 10);
            let (head, rest) = value.split_at_checked(head).unwrap_or(("", value));
            let (body, tail) =
                rest.split_at_checked(rest.rfind("-----END").unwrap_or(rest.len())).unwrap_or((rest, ""));
            return format!("{head}{}{tail}", body.chars().map(|c| draw.like(c)).collect::<String>());
        }
        let kept = self.kept(value);
        value.char_indices().map(|(i, c)| if i < kept { c } else { draw.like(c) }).collect()
    }
}

/// Characters of a line that is a key's without doubt: words are seldom as long.
const LINE: usize = 16;

/// Where the last line of base64 ends after a key's first line; `None` where there is
/// none: a text may speak of keys.
fn body(rest: &str) -> Option<usize> {
    let mut found = None;
    let mut at = 0;
    while let Some(piece) = rest.get(at..).filter(|rest| !rest.is_empty()) {
        let trimmed = piece.trim_start();
        let start = at + (piece.len() - trimmed.len());
        let word = trimmed.split(char::is_whitespace).next().unwrap_or_default();
        // `Proc-Type: 4,ENCRYPTED` and its like come first.
        if found.is_none() && word.ends_with(':') {
            at = start + trimmed.find('\n')?;
            continue;
        }
        let base64 = word.find(|c: char| !is_base64(c)).and_then(|i| word.get(..i)).unwrap_or(word);
        let long = base64.len() >= LINE && is_mixed(base64);
        // Of its last line there may be little.
        if long || (found.is_some() && is_mixed(base64)) {
            found = Some(start + base64.len());
        }
        if base64.is_empty() || base64.len() < word.len() || (found.is_some() && !long) {
            break;
        }
        at = start + word.len();
    }
    found
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

/// Not a word, which has no digit and a capital at its beginning only.
fn is_mixed(text: &str) -> bool {
    text.chars().any(|c| !c.is_ascii_alphabetic()) || text.chars().skip(1).any(|c| c.is_ascii_uppercase())
}
