//! Which variables are set for the command, and what the user is told.

use std::collections::BTreeMap;

use crate::state::Running;

/// The variables that SDKs read, by provider; those of one group mean the same.
/// OpenAI's base URL ends in `/v1`, Anthropic's and Google's do not.
const GROUPS: &[(&str, &[&str], &str)] = &[
    ("openai", &["OPENAI_BASE_URL", "OPENAI_API_BASE"], "/v1"),
    ("anthropic", &["ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE"], ""),
    ("google", &["GOOGLE_GEMINI_BASE_URL"], ""),
];

/// What the command is given, and what is said about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Variables and their values.
    pub(crate) set: BTreeMap<String, String>,
    /// Lines for the user.
    pub(crate) said: Vec<String>,
}

/// The providers whose base URL the user has set, with it.
pub(super) fn chained(set: &dyn Fn(&str) -> Option<String>) -> impl Iterator<Item = (&'static str, String)> {
    GROUPS.iter().filter_map(|(provider, names, _)| Some((*provider, names.iter().find_map(|n| set(n))?)))
}

/// Whether one of the user's base URLs is this proxy's.
pub(super) fn lead_to(running: &Running, set: &dyn Fn(&str) -> Option<String>) -> bool {
    chained(set).any(|(_, url)| is_below(&url, &here(running)))
}

fn here(running: &Running) -> String {
    format!("http://{}", running.gateway)
}

/// Whether a URL is at this address: another one's port may begin with the same digits.
fn is_below(url: &str, here: &str) -> bool {
    url.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// Decides, given what is set already.
pub(crate) fn plan(running: &Running, chain: bool, set: &dyn Fn(&str) -> Option<String>) -> Plan {
    let mut plan = Plan::default();
    let here = here(running);
    for (provider, names, version) in GROUPS {
        let Some(prefix) = running.prefixes.get(*provider) else { continue };
        let ours = if prefix.ends_with("/v1") || version.is_empty() {
            format!("{here}{prefix}")
        } else {
            format!("{here}{prefix}{version}")
        };
        let theirs = names.iter().find_map(|n| set(n).map(|v| (*n, v)));
        match theirs {
            Some((_, value)) if is_below(&value, &here) => {}
            Some((name, value)) if !chain => {
                plan.said.push(format!(
                    "{name} is set to {} already and is left alone, so these calls are not seen; --chain puts the proxy in front of it",
                    without_secrets(&value)
                ));
                continue;
            }
            Some((name, value)) => {
                plan.said.push(format!("{name} was {}, which is our upstream now", without_secrets(&value)));
            }
            None => {}
        }
        for name in *names {
            plan.set.insert((*name).to_owned(), ours.clone());
        }
    }
    let seen: Vec<&str> = plan.set.keys().map(String::as_str).collect();
    if !seen.is_empty() {
        plan.said.insert(0, format!("calls through {here} ({})", seen.join(", ")));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        plan.set.insert(name.to_owned(), no_proxy(set(name)));
    }
    plan
}

/// Loopback is never reached through somebody else's proxy.
fn no_proxy(own: Option<String>) -> String {
    let mut hosts: Vec<String> = own
        .iter()
        .flat_map(|v| v.split(','))
        .map(|h| h.trim().to_owned())
        .filter(|h| !h.is_empty())
        .collect();
    if hosts.iter().any(|h| h == "*") {
        return "*".to_owned();
    }
    for host in ["127.0.0.1", "localhost", "::1", "169.254.169.254"] {
        if !hosts.iter().any(|h| h == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts.join(",")
}

/// A URL without user, password and query.
fn without_secrets(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) => {
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.set_fragment(None);
            parsed.to_string()
        }
        Err(_) => "something that is not a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Running {
        Running {
            pid: 1,
            gateway: "127.0.0.1:4141".parse().unwrap(),
            admin: "127.0.0.1:4142".parse().unwrap(),
            metrics: None,
            prefixes: [("openai", "/v1"), ("anthropic", "/anthropic"), ("google", "/google")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            serves: crate::state::Serves::All,
        }
    }

    fn with<'a>(own: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| own.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn every_sdk_is_pointed_at_the_proxy() {
        let plan = plan(&running(), false, &with(&[]));
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
        assert_eq!(plan.set["OPENAI_API_BASE"], "http://127.0.0.1:4141/v1");
        assert_eq!(plan.set["ANTHROPIC_BASE_URL"], "http://127.0.0.1:4141/anthropic");
        assert_eq!(plan.set["GOOGLE_GEMINI_BASE_URL"], "http://127.0.0.1:4141/google");
        assert_eq!(plan.set["NO_PROXY"], "127.0.0.1,localhost,::1,169.254.169.254");
    }

    #[test]
    fn a_base_url_of_the_users_own_is_reported_and_left_alone() {
        let plan = plan(&running(), false, &with(&[("OPENAI_API_BASE", "https://me:pw@corp.test/v1?key=x")]));
        assert!(!plan.set.contains_key("OPENAI_BASE_URL") && !plan.set.contains_key("OPENAI_API_BASE"));
        assert!(plan.set.contains_key("ANTHROPIC_BASE_URL"));
        let said = plan.said.join("\n");
        assert!(said.contains("OPENAI_API_BASE is set to https://corp.test/v1 already"), "{said}");
        assert!(!said.contains("pw") && !said.contains("key=x"), "{said}");
    }

    #[test]
    fn with_chain_it_becomes_our_upstream() {
        let own = [("OPENAI_BASE_URL", "https://corp.test/v1")];
        let plan = plan(&running(), true, &with(&own));
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
        assert_eq!(chained(&with(&own)).collect::<Vec<_>>(), [("openai", "https://corp.test/v1".to_owned())]);
    }

    #[test]
    fn our_own_address_is_nobody_elses() {
        let plan = plan(&running(), false, &with(&[("OPENAI_BASE_URL", "http://127.0.0.1:4141/v1")]));
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
        assert_eq!(plan.said.len(), 1);
    }

    #[test]
    fn a_port_that_only_begins_like_ours_is_somebody_elses() {
        for other in ["http://127.0.0.1:41411/v1", "http://127.0.0.1:41411", "http://127.0.0.1:4141.test/v1"]
        {
            let plan = plan(&running(), false, &with(&[("OPENAI_BASE_URL", other)]));
            assert!(!plan.set.contains_key("OPENAI_BASE_URL"), "{other}");
            assert!(plan.said.join("\n").contains("left alone"), "{:?}", plan.said);
            assert!(!lead_to(&running(), &with(&[("OPENAI_BASE_URL", other)])));
        }
        assert!(lead_to(&running(), &with(&[("OPENAI_BASE_URL", "http://127.0.0.1:4141")])));
    }

    #[test]
    fn no_proxy_keeps_what_the_user_wrote() {
        let plan = plan(&running(), false, &with(&[("NO_PROXY", "corp.test, localhost"), ("no_proxy", "*")]));
        assert_eq!(plan.set["NO_PROXY"], "corp.test,localhost,127.0.0.1,::1,169.254.169.254");
        assert_eq!(plan.set["no_proxy"], "*");
    }
}
