use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use axum::http::Uri;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::crd::{Pinned, UnderstudyPolicy};
use crate::policies::{Known, Policies};

fn object(name: &str, stage: &str) -> Value {
    json!({"apiVersion": "understudy.dev/v1alpha1", "kind": "UnderstudyPolicy",
        "metadata": {"namespace": "agents", "name": name, "uid": format!("{name}-uid"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"stage": stage}})
}

/// An API server that lists these, and has no news after that.
fn that_lists(objects: &[Value]) -> Client {
    let list = json!({"apiVersion": "understudy.dev/v1alpha1", "kind": "UnderstudyPolicyList",
        "metadata": {"resourceVersion": "1"}, "items": objects});
    let answer = move |uri: Uri| {
        let list = list.clone();
        async move {
            if uri.query().is_some_and(|q| q.contains("watch=true")) {
                std::future::pending::<()>().await;
            }
            Json(list)
        }
    };
    let server: Router = Router::new().fallback(answer);
    Client::new(server, "agents")
}

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named_with_its_reason_and_hides_nothing() {
    let logged = Logged::default();
    let writer = logged.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(lines);

    let policies = Policies::new("understudy");
    // Read before its definition was a newer one.
    policies.set(serde_json::from_value::<UnderstudyPolicy>(object("known", "live")).unwrap());
    let bot: Key = ("agents".to_owned(), "bot".to_owned());
    policies.set_pod(bot.clone(), "bot-uid".to_owned(), BTreeMap::new());
    policies.pods_listed(&[bot.clone()].into());

    let server =
        that_lists(&[object("fresh", "halfway"), object("known", "halfway"), object("plain", "shadowing")]);
    let mut changes = policies.changes();
    let told = async {
        loop {
            if let Known::Document(told) = policies.of(&bot, "bot-uid") {
                return told;
            }
            changes.changed().await.unwrap();
        }
    };
    let told = tokio::select! {
        () = watch(server, &policies) => panic!("it no longer watches"),
        told = told => told,
    };
    let told: BTreeMap<&str, Option<Pinned>> =
        told.policies.iter().map(|p| (p.name.as_str(), p.stage)).collect();
    let holds = [("agents/known", Some(Pinned::Live)), ("agents/plain", Some(Pinned::Shadowing))];
    assert_eq!(told, BTreeMap::from(holds));

    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    for (name, is_named) in [("fresh", true), ("known", true), ("plain", false)] {
        let named = logged.lines().any(|l| l.contains(name) && l.contains("halfway"));
        assert_eq!(named, is_named, "{name}: {logged}");
    }
}
