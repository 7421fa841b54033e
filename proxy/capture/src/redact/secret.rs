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
    pem: Option<Regex>,
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
            pem: Regex::new(
                r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,-]*?-----END [A-Z ]*PRIVATE KEY-----",
            )
            .ok(),
        }
    }

    /// A key's prefix is there, and a word long enough with a digit in it.
    fn may_be_prefixed(&self, text: &str, glance: &Glance) -> bool {
        glance.token && self.prefixes.as_ref().is_none_or(|r| r.is_match(text))
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
        out.extend(self.pem.iter().flat_map(|r| r.find_iter(text)).map(|m| m.range()));
    }

    fn stand_in(&self, value: &str, draw: &mut Draw) -> String {
        if value.starts_with("-----BEGIN") {
            let (head, rest) =
                value.split_at_checked(value.find("KEY-----").map_or(0, |i| i + 8)).unwrap_or(("", value));
            let (body, tail) =
                rest.split_at_checked(rest.rfind("-----END").unwrap_or(rest.len())).unwrap_or((rest, ""));
            return format!("{head}{}{tail}", body.chars().map(|c| draw.like(c)).collect::<String>());
        }
        let kept = self.kept(value);
        value.char_indices().map(|(i, c)| if i < kept { c } else { draw.like(c) }).collect()
    }
}
