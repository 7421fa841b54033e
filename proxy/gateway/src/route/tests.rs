use super::*;
use crate::config::Limits;

fn routes() -> Routes {
    let mine = [
        Provider::openai(),
        Provider::anthropic(),
        Provider {
            name: "corp".into(),
            base_url: "http://127.0.0.1:9/llm/v1/".into(),
            prefixes: vec!["/corp".into()],
            hosts: vec![],
            ca_file: None,
            http2: false,
        },
    ];
    let ups: Vec<_> = mine.iter().map(|p| Arc::new(Upstream::new(p, &Limits::default()).unwrap())).collect();
    Routes::new(mine.iter().zip(ups))
}

fn goes(host: Option<&str>, target: &str) -> Option<(String, String)> {
    let r = routes();
    let found = r.find(host.map(str::as_bytes), target)?;
    Some((found.upstream.name().to_owned(), rewrite(target, found.strip, found.upstream.base_path())))
}

fn to(name: &str, path: &str) -> Option<(String, String)> {
    Some((name.to_owned(), path.to_owned()))
}

#[test]
fn a_prefix_is_replaced_by_the_base_urls_path_and_the_query_is_kept() {
    assert_eq!(goes(None, "/v1/chat/completions?a=b"), to("openai", "/v1/chat/completions?a=b"));
    assert_eq!(goes(None, "/openai/v1/models"), to("openai", "/v1/models"));
    assert_eq!(goes(None, "/openai/models"), to("openai", "/v1/models"));
    assert_eq!(goes(None, "/anthropic/v1/messages"), to("anthropic", "/v1/messages"));
    assert_eq!(goes(None, "/anthropic"), to("anthropic", "/"));
    assert_eq!(goes(None, "/anthropic?x"), to("anthropic", "/?x"));
    assert_eq!(goes(None, "/corp/chat/completions"), to("corp", "/llm/v1/chat/completions"));
    assert_eq!(goes(None, "/corp"), to("corp", "/llm/v1"));
    assert_eq!(goes(None, "/corp?x"), to("corp", "/llm/v1?x"));
}

#[test]
fn a_prefix_ends_at_a_segment() {
    assert_eq!(goes(None, "/v10/models"), None);
    assert_eq!(goes(None, "/openaix"), None);
    assert_eq!(goes(None, "/"), None);
}

#[test]
fn a_host_goes_before_a_prefix_and_leaves_other_paths_alone() {
    assert_eq!(goes(Some("API.anthropic.com:443"), "/v1/messages"), to("anthropic", "/v1/messages"));
    assert_eq!(goes(Some("api.openai.com"), "/dashboard?x=1"), to("openai", "/dashboard?x=1"));
    assert_eq!(goes(Some("127.0.0.1:4141"), "/v1/models"), to("openai", "/v1/models"));
}

#[test]
fn a_slash_takes_what_is_left() {
    assert_eq!(rewrite("/x?y", Some(strip_len("/")), "/v1"), "/v1/x?y");
    assert!(under("/anything", "/"));
}

#[test]
fn a_name_that_may_lead_here_from_elsewhere_is_told_from_those_that_cannot() {
    for host in
        ["", "localhost", "LocalHost:4141", "agent.localhost.", "127.0.0.1:4141", "[::1]:4141", "10.0.0.7"]
    {
        assert!(is_local(host.as_bytes()), "{host}");
    }
    for host in ["evil.example:4141", "localhost.evil.example", "127.0.0.1.evil.example", "a"] {
        assert!(!is_local(host.as_bytes()), "{host}");
    }
    assert!(!is_local(b"\xff"));
    let r = routes();
    assert!(r.is_host(b"API.openai.com:443") && !r.is_host(b"evil.example"));
}
