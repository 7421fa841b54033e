//! Certificates are renewed, authorities too, while pods are asked for all the time, by dry
//! run: each review is a real one.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Cluster, HOME, is_injected};

/// Longer than `certificates.settleSeconds` of the tests' values and a few rounds of
/// the keeper.
const LONG_ENOUGH: Duration = Duration::from_secs(45);

pub(crate) fn are_renewed(cluster: &Cluster) {
    let before = trusted(cluster);
    assert_eq!(before.matches("BEGIN CERTIFICATE").count(), 1);
    age(cluster);
    let (began, mut slowest, mut count) = (Instant::now(), Duration::ZERO, 0u32);
    let (mut both, mut shown) = (None, None);
    let serial = leaf(cluster);
    while began.elapsed() < LONG_ENOUGH || shown.is_none() {
        assert!(began.elapsed() < LONG_ENOUGH * 4, "not renewed: both at {both:?}, shown at {shown:?}");
        let asked = Instant::now();
        let made = cluster.asked_for();
        assert!(is_injected(&made), "after {count} pods and {:?}: {made}", began.elapsed());
        slowest = slowest.max(asked.elapsed());
        count += 1;
        if both.is_none() && trusted(cluster).matches("BEGIN CERTIFICATE").count() == 2 {
            both = Some(began.elapsed());
        }
        if shown.is_none() && leaf(cluster) != serial {
            shown = Some(began.elapsed());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let pace = f64::from(count) / began.elapsed().as_secs_f64();
    let (both, shown) = (both.unwrap(), shown.unwrap());
    assert!(both < shown, "a certificate was shown whose authority nobody knew: {both:?}, {shown:?}");
    assert!(trusted(cluster).contains(before.trim()), "the old authority is trusted until it ends");
    eprintln!(
        "          {count} pods asked for, {pace:.0} a second, every one injected, the slowest after {} ms; both authorities trusted after {:.0} s, the new one signs after {:.0} s",
        slowest.as_millis(),
        both.as_secs_f64(),
        shown.as_secs_f64()
    );
}

/// What the API server trusts.
fn trusted(cluster: &Cluster) -> String {
    let found = cluster
        .api
        .get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/understudy-injector");
    let bundle = found["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
    String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap()
}

const SECRET: &str = "understudy-certificates";

fn kept(cluster: &Cluster) -> (Value, Value) {
    let secret = cluster.api.get(&format!("/api/v1/namespaces/{HOME}/secrets/{SECRET}"));
    let json = STANDARD.decode(secret["data"]["kept.json"].as_str().unwrap()).unwrap();
    let kept = serde_json::from_slice(&json).unwrap();
    (secret, kept)
}

/// The injector's certificate.
fn leaf(cluster: &Cluster) -> String {
    kept(cluster).1["servers"]["injector"]["certificate"].as_str().unwrap().to_owned()
}

/// Makes the authority as old as one that is due, without making it end.
fn age(cluster: &Cluster) {
    let (mut secret, mut kept) = kept(cluster);
    let authority = &mut kept["authorities"][0];
    let (from, until) = (authority["from"].as_i64().unwrap(), authority["until"].as_i64().unwrap());
    let older = from - 3 * (until - from);
    authority["from"] = json!(older);
    for server in kept["servers"].as_object_mut().unwrap().values_mut() {
        server["by"] = json!(older);
    }
    secret["data"]["kept.json"] = json!(STANDARD.encode(kept.to_string()));
    cluster
        .api
        .merge(&format!("/api/v1/namespaces/{HOME}/secrets/{SECRET}"), &json!({"data": secret["data"]}));
}
