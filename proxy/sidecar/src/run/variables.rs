//! Which variables are set for the command, and what the user is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::dotenv;
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

/// What the user has set a variable to. It may hold a password, so it is not printed whole.
#[derive(Clone)]
pub(crate) struct Set {
    value: String,
    /// The file that says so; none where it is the shell.
    file: Option<PathBuf>,
}

impl Set {
    /// The shell's value, else that of the nearest of these files. One that is empty sets
    /// nothing; in the shell it keeps the files from counting, as it does for the agent.
    pub(super) fn find(
        name: &str,
        shell: &dyn Fn(&str) -> Option<String>,
        files: &[PathBuf],
    ) -> Option<Self> {
        match shell(name) {
            Some(value) => (!value.is_empty()).then_some(Self { value, file: None }),
            None => dotenv::find(files, name).map(|(value, file)| Self { value, file: Some(file) }),
        }
    }
}

/// The providers whose base URL the user has set, with it.
pub(super) fn chained(
    set: &dyn Fn(&str) -> Option<Set>,
) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    GROUPS.iter().filter_map(|(provider, names, _)| {
        let (name, found) = names.iter().find_map(|n| Some((*n, set(n)?)))?;
        Some((name, *provider, found.value))
    })
}

/// Whether one of the base URLs in the shell is this proxy's.
pub(super) fn lead_to(running: &Running, shell: &dyn Fn(&str) -> Option<String>) -> bool {
    let here = here(running);
    let set = |name: &&str| shell(name).filter(|value| !value.is_empty());
    GROUPS.iter().filter_map(|(_, names, _)| names.iter().find_map(set)).any(|url| is_below(&url, &here))
}

fn here(running: &Running) -> String {
    format!("http://{}", running.gateway)
}

/// Whether a URL is at this address: another one's port may begin with the same digits.
fn is_below(url: &str, here: &str) -> bool {
    url.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

/// Decides, given what is set already.
pub(crate) fn plan(running: &Running, chain: bool, set: &dyn Fn(&str) -> Option<Set>) -> Plan {
    let mut plan = Plan::default();
    let here = here(running);
    for (provider, names, version) in GROUPS {
        let Some(prefix) = running.prefixes.get(*provider) else { continue };
        let ours = if prefix.ends_with("/v1") || version.is_empty() {
            format!("{here}{prefix}")
        } else {
            format!("{here}{prefix}{version}")
        };
        let theirs = names.iter().find_map(|n| set(n).map(|found| (*n, found)));
        match theirs {
            Some((_, found)) if is_below(&found.value, &here) => {}
            Some((name, found)) if !chain => {
                plan.said.push(left_alone(name, &found));
                continue;
            }
            Some((name, found)) => {
                let place = found.file.map(|file| format!(" in {}", file.display())).unwrap_or_default();
                let url = without_secrets(&found.value);
                plan.said.push(format!("{name} was {url}{place}, which is our upstream now"));
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
        plan.set.insert(name.to_owned(), no_proxy(set(name).map(|found| found.value)));
    }
    plan
}

/// That a base URL is the user's, with what there is to do about it.
fn left_alone(name: &str, found: &Set) -> String {
    let url = without_secrets(&found.value);
    let (place, remedy) = match &found.file {
        None => ("already".to_owned(), String::new()),
        Some(file) => (
            format!("in {}", file.display()),
            format!("; where the command does not read that file, set {name} to nothing in the shell"),
        ),
    };
    format!(
        "{name} is set to {url} {place} and is left alone, so these calls are not seen; --chain puts the proxy in front of it{remedy}"
    )
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

    fn shell<'a>(own: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| own.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    fn with<'a>(own: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<Set> + 'a {
        move |name| Set::find(name, &shell(own), &[])
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
        let plan = plan(
            &running(),
            false,
            &with(&[("OPENAI_API_BASE", "https://me:hunter2-pass@corp.test/v1?key=x")]),
        );
        assert!(!plan.set.contains_key("OPENAI_BASE_URL") && !plan.set.contains_key("OPENAI_API_BASE"));
        assert!(plan.set.contains_key("ANTHROPIC_BASE_URL"));
        let said = plan.said.join("\n");
        assert!(said.contains("OPENAI_API_BASE is set to https://corp.test/v1 already"), "{said}");
        assert!(!said.contains("hunter2-pass") && !said.contains("key=x"), "{said}");
    }

    #[test]
    fn with_chain_it_becomes_our_upstream() {
        let own = [("OPENAI_BASE_URL", "https://corp.test/v1")];
        let plan = plan(&running(), true, &with(&own));
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
        assert_eq!(
            chained(&with(&own)).collect::<Vec<_>>(),
            [("OPENAI_BASE_URL", "openai", "https://corp.test/v1".to_owned())]
        );
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
            assert!(!lead_to(&running(), &shell(&[("OPENAI_BASE_URL", other)])));
        }
        let ours = [("OPENAI_BASE_URL", ""), ("OPENAI_API_BASE", "http://127.0.0.1:4141")];
        assert!(lead_to(&running(), &shell(&ours)));
    }

    /// What is set where a file of the agent's says this.
    fn in_file(text: &str, own: &[(&str, &str)], chain: bool) -> (Plan, String) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        std::fs::write(&file, text).unwrap();
        let files = [file.clone()];
        let plan = plan(&running(), chain, &|name| Set::find(name, &shell(own), &files));
        (plan, file.display().to_string())
    }

    #[test]
    fn a_base_url_in_a_file_that_the_agent_reads_is_left_alone_and_the_file_is_named() {
        let text =
            "OPENAI_API_KEY=sk-secret\nexport OPENAI_BASE_URL=\"https://me:hunter2-pass@corp.test/v1\"\n";
        let (plan, file) = in_file(text, &[], false);
        assert!(!plan.set.contains_key("OPENAI_BASE_URL") && !plan.set.contains_key("OPENAI_API_BASE"));
        assert!(plan.set.contains_key("ANTHROPIC_BASE_URL"));
        let said = plan.said.join("\n");
        let told = format!("OPENAI_BASE_URL is set to https://corp.test/v1 in {file} and is left alone");
        assert!(said.contains(&told) && said.contains("--chain"), "{said}");
        assert!(!said.contains("hunter2-pass") && !said.contains("sk-secret"), "{said}");
    }

    #[test]
    fn with_chain_the_files_base_url_becomes_our_upstream() {
        let (plan, file) = in_file("OPENAI_BASE_URL=https://corp.test/v1\n", &[], true);
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
        let told = format!("OPENAI_BASE_URL was https://corp.test/v1 in {file}, which is our upstream now");
        assert!(plan.said.contains(&told), "{:?}", plan.said);
        let found = Set { value: "https://corp.test/v1".to_owned(), file: Some(file.into()) };
        let set = |name: &str| (name == "OPENAI_BASE_URL").then(|| found.clone());
        assert_eq!(
            chained(&set).collect::<Vec<_>>(),
            [("OPENAI_BASE_URL", "openai", "https://corp.test/v1".to_owned())]
        );
    }

    #[test]
    fn the_shell_wins_over_the_file_even_where_it_says_nothing() {
        let text = "OPENAI_BASE_URL=https://file.test/v1\nNO_PROXY=file.test\n";
        let (plan, _) = in_file(text, &[("OPENAI_BASE_URL", "https://shell.test/v1")], false);
        let said = plan.said.join("\n");
        assert!(said.contains("https://shell.test/v1 already") && !said.contains("file.test"), "{said}");
        assert_eq!(plan.set["NO_PROXY"], "file.test,127.0.0.1,localhost,::1,169.254.169.254");
        let (plan, _) = in_file(text, &[("OPENAI_BASE_URL", "")], false);
        assert_eq!(plan.set["OPENAI_BASE_URL"], "http://127.0.0.1:4141/v1");
    }

    #[test]
    fn no_proxy_keeps_what_the_user_wrote() {
        let plan = plan(&running(), false, &with(&[("NO_PROXY", "corp.test, localhost"), ("no_proxy", "*")]));
        assert_eq!(plan.set["NO_PROXY"], "corp.test,localhost,127.0.0.1,::1,169.254.169.254");
        assert_eq!(plan.set["no_proxy"], "*");
    }
}
