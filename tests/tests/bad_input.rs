//! Whatever is wrong is said clearly, with the exit code that says whose fault
//! it is, and a call that can flow flows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy, said};
use understudy_tests::standin;

const NOBODY_REHEARSES: &str = "[engine]\nenabled = false\n";

fn provider() -> Peer {
    Peer::standin(standin::Config::default())
}

fn agent(proxy: &Proxy) -> Agent {
    Agent::new(&proxy.url(), "sk-stand-in")
}

/// One call through the proxy is answered by the provider.
fn a_call_flows(proxy: &Proxy) {
    let answer = agent(proxy).ask(&desk::triage(1));
    assert_eq!((answer.status, answer.by()), (200, None), "{answer:?}");
    assert!(answer.content().starts_with("{\"queue\""), "{answer:?}");
}

#[test]
fn every_mistake_of_a_configuration_is_reported_at_once() {
    let home = Home::written(
        "[gateway]\nlisten = [\"nowhere\"]\nlisen = 1\n[policy]\ntau = 1.5\nsteps = [0.5, 0.1]\n[providers.mine]\nprefixes = [\"/mine\"]\n",
    );
    let out = home.command(["serve"]).env("UNDERSTUDY_POLICY_ALPHA", "much").output().unwrap();
    let text = said(&out);
    assert_eq!(out.status.code(), Some(64), "{text}");
    for word in
        ["gateway.listen", "nowhere", "lisen", "tau", "steps", "providers.mine.base_url", "ALPHA", "much"]
    {
        assert!(text.contains(word), "{word} is not reported: {text}");
    }
    assert!(!home.state().join("journal").exists(), "something was begun all the same");
    assert_eq!(home.output(["check"]).status.code(), Some(64));
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let home = Home::written("[gateway\n");
    let text = said(&home.output(["check"]));
    assert!(text.contains("understudy.toml"), "{text}");
    std::fs::remove_file(home.path("understudy.toml")).unwrap();
    let out = home.output(["serve"]);
    assert_eq!(out.status.code(), Some(64), "{}", said(&out));
    assert!(said(&out).contains("understudy.toml"), "{}", said(&out));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, other) in [
        ("gateway.listen", "metrics.listen"),
        ("metrics.listen", "admin.listen"),
        ("admin.listen", "gateway.listen"),
    ] {
        let at = |own: &str| if own == key { address.as_str() } else { "127.0.0.1:0" };
        let home = Home::written(&format!(
            "{NOBODY_REHEARSES}[gateway]\nlisten = [\"{}\"]\n[metrics]\nlisten = \"{}\"\n[admin]\nlisten = \"{}\"\n",
            at("gateway.listen"),
            at("metrics.listen"),
            at("admin.listen")
        ));
        let out = home.output(["serve"]);
        let text = said(&out);
        assert_eq!(out.status.code(), Some(75), "{key}: {text}");
        let told = text.contains(&format!("cannot listen on {address}: the port is taken"));
        assert!(told && text.contains(&format!("or set {key} to another")), "{key}: {text}");
        assert!(!text.contains(other), "{key}: {text}");
        assert!(!home.state().join("running.json").exists(), "it is announced all the same");
    }
}

#[test]
fn a_second_proxy_in_one_home_gives_way_to_the_first() {
    let provider = provider();
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let first = home.serve();
    let out = home.output(["serve"]);
    assert_eq!(out.status.code(), Some(75), "{}", said(&out));
    assert!(said(&out).contains("running already"), "{}", said(&out));
    a_call_flows(&first);
}

#[test]
fn a_command_that_needs_a_proxy_says_that_none_runs() {
    let home = Home::written(NOBODY_REHEARSES);
    let out = home.output(["tasks"]);
    assert_eq!(out.status.code(), Some(69), "{}", said(&out));
    assert!(said(&out).contains("understudy serve"), "{}", said(&out));
}

#[test]
fn without_models_calls_flow_and_are_recorded() {
    let provider = provider();
    let home = Home::new(&provider.url(), "[model]\nchat = \"/nowhere/chat\"\nembed = \"/nowhere/embed\"\n");
    let proxy = home.serve();
    a_call_flows(&proxy);
    wait_until("the call is recorded", PATIENCE, || {
        home.json(["journal", "stats"])["records"].as_u64() > Some(0)
    });
    assert!(proxy.log().contains("understudy model pull"), "{}", proxy.log());
}

#[test]
fn a_corrupt_model_is_refused_by_name_and_calls_flow() {
    let provider = provider();
    let home = Home::new(&provider.url(), "");
    let folder = home.path("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("understudy.toml"), "licence = ").unwrap();
    let path = folder.display();
    let config = home.path("understudy.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, format!("{text}[model]\nchat = \"{path}\"\nembed = \"{path}\"\n")).unwrap();
    let proxy = home.serve();
    wait_until("the engine has failed", PATIENCE, || proxy.log().contains("the engine is down"));
    a_call_flows(&proxy);
    let out = home.output(["model", "check"]);
    assert!(!out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("understudy.toml"), "{}", said(&out));
}

#[test]
fn without_a_key_nothing_is_recorded_and_calls_flow() {
    let provider = provider();
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    std::fs::create_dir(home.state()).unwrap();
    std::fs::write(home.state().join("key"), "short").unwrap();
    let proxy = home.serve();
    a_call_flows(&proxy);
    assert!(proxy.log().contains("not recording"), "{}", proxy.log());
    let stats = said(&home.output(["journal", "stats", "--json"]));
    assert!(stats.contains("key"), "the reason is not said: {stats}");
    assert_eq!(std::fs::read(home.state().join("key")).unwrap(), b"short", "a key is never replaced");
}

#[test]
fn without_a_journal_nothing_is_recorded_and_calls_flow() {
    let provider = provider();
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    std::fs::create_dir(home.state()).unwrap();
    std::fs::write(home.state().join("journal"), "not a folder").unwrap();
    let proxy = home.serve();
    a_call_flows(&proxy);
    assert!(proxy.log().contains("not recording"), "{}", proxy.log());
}

#[test]
fn a_provider_that_is_down_is_502_in_the_callers_dialect() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new(
        &format!("http://{gone}/v1"),
        &format!("[providers.anthropic]\nbase_url = \"http://{gone}\"\n{NOBODY_REHEARSES}"),
    );
    let proxy = home.serve();
    let answer = agent(&proxy).ask(&desk::triage(1));
    let error = answer.json();
    assert_eq!((answer.status, answer.header("x-understudy-fault")), (502, Some("provider")), "{answer:?}");
    assert!(error["error"]["message"].as_str().unwrap().contains("openai"), "{error}");
    assert!(error["error"]["type"].is_string(), "{error}");

    let body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]});
    let other = Agent::new(&format!("http://{}/anthropic", proxy.address()), "sk-stand-in");
    let answer = other.post("/v1/messages", body.to_string()).unwrap();
    let error = answer.json();
    assert_eq!((answer.status, &error["type"]), (502, &json!("error")), "{answer:?}");
    assert!(error["error"]["message"].as_str().unwrap().contains("anthropic"), "{error}");
}

#[test]
fn what_the_provider_refuses_is_refused_in_the_providers_words() {
    let provider = provider();
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let proxy = home.serve();
    for (key, body) in
        [("sk-stand-in", "{\"model\": "), ("sk-stand-in", ""), ("wrong", "{}"), ("sk-stand-in", "\u{fffd}\0")]
    {
        let post = |url: &str| Agent::new(url, key).post("/chat/completions", body).unwrap();
        let (direct, through) = (post(&provider.url()), post(&proxy.url()));
        assert!(matches!(direct.status, 400 | 401), "{direct:?}");
        assert_eq!((through.status, &through.body), (direct.status, &direct.body));
        assert_eq!(through.header("x-understudy-fault"), None);
    }
}

#[test]
fn a_body_over_the_limit_is_413() {
    let provider = provider();
    let limit = "[gateway]\nlisten = [\"127.0.0.1:0\"]\nrequest_body = \"4 KiB\"\n";
    let own = "[metrics]\nlisten = \"127.0.0.1:0\"\n[engine]\nenabled = false\n";
    let home = Home::written(&format!("[providers.openai]\nbase_url = \"{}\"\n{limit}{own}", provider.url()));
    let proxy = home.serve();
    let text = "words ".repeat(2_000);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
    let answer = agent(&proxy).post("/chat/completions", body).unwrap();
    assert_eq!((answer.status, answer.header("x-understudy-fault")), (413, Some("agent")), "{answer:?}");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("4096") && message.contains("request_body"), "{message}");
    a_call_flows(&proxy);
}

#[test]
fn half_a_request_and_a_hang_up_leave_the_next_call_alone() {
    let provider = provider();
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let proxy = home.serve();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-x\r\ncontent-length: 100\r\n\r\n";
    for part in ["", "POST /v1/ch", &format!("{head}{{\"model\""), "\0\0\0\r\n\r\n"] {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // It ends, by a reply or without one.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "{part:?}"
        );
        a_call_flows(&proxy);
    }
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[test]
fn calls_in_flight_come_to_their_end_when_it_is_told_to_end() {
    let gap = Duration::from_millis(150);
    let provider = Peer::standin(standin::Config { delay: Duration::from_millis(400), chunk_gap: gap });
    let home = Home::new(&provider.url(), NOBODY_REHEARSES);
    let mut proxy = home.serve();
    let stats = format!("http://{}", provider.address);
    let arrived = || -> u64 {
        let mut stream = TcpStream::connect(provider.address).unwrap();
        write!(stream, "GET /stats HTTP/1.1\r\nhost: {stats}\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        serde_json::from_str::<Value>(body).unwrap()["calls"].as_u64().unwrap()
    };
    let agent = agent(&proxy);
    let answers = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let streamed = desk::with(desk::triage(1), "stream", json!(true));
            agent.ask_all(vec![streamed, desk::triage(2)], 2)
        });
        wait_until("both calls are with the provider", PATIENCE, || arrived() == 2);
        proxy.signal("TERM");
        asking.join().unwrap()
    });
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap().status, 200);
    }
    assert_eq!(answers[0].as_ref().unwrap().events().last().unwrap(), "[DONE]");
    assert_eq!(proxy.ended().code(), Some(0), "{}", proxy.log());
    assert!(TcpStream::connect(proxy.address()).is_err(), "it still listens");
    assert!(!home.state().join("running.json").exists(), "it is still announced");
}
