//! Recorded traffic through a real proxy.
//!
//! `replay playback FOLDER NAME DELAY_MS`: plays the recorded replies after a
//! provider-like delay; prints its base URL and stays.
//! `replay send FOLDER NAME BASE_URL KEY WORKERS [LIMIT]`: sends every recorded
//! `test` call once, compares what comes back with what was recorded, every
//! argument strictly, and prints the counts as JSON, and of the served calls that are not
//! novel the agreement as a mean over conversations with its two-sided 95 % interval.
//! `replay mixed FOLDER NAME…`: the calls of several agents as one log of
//! `{"request", "response"}`, each agent spread evenly over it, with no mark of
//! who sent what.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a tool of the tests: its output is its result, and a failure should stop it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use understudy_policy::interval;
use understudy_tests::openai;
use understudy_tests::playback::{self, Recorded};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["playback", folder, name, delay] => {
            let calls = playback::recorded(Path::new(folder), name)?;
            let delay = Duration::from_millis(delay.parse().context("DELAY_MS is a number")?);
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
            println!("http://{}/v1", listener.local_addr()?);
            axum::serve(listener, playback::router(&calls, delay)).await?;
            Ok(())
        }
        ["send", folder, name, url, key, workers, rest @ ..] => {
            let limit = rest.first().map_or(Ok(usize::MAX), |l| l.parse()).context("LIMIT is a number")?;
            send(Path::new(folder), name, url, key, workers.parse().context("WORKERS is a number")?, limit)
                .await
        }
        ["mixed", folder, names @ ..] if !names.is_empty() => mixed(Path::new(folder), names),
        _ => bail!(
            "usage: replay playback FOLDER NAME DELAY_MS | replay send FOLDER NAME BASE_URL KEY WORKERS [LIMIT] | \
             replay mixed FOLDER NAME…"
        ),
    }
}

fn mixed(folder: &Path, names: &[&str]) -> Result<()> {
    let mut all: Vec<(f64, Value)> = Vec::new();
    for name in names {
        let calls = playback::recorded(folder, name)?;
        let of = calls.len() as f64;
        all.extend(calls.into_iter().enumerate().map(|(i, call)| {
            let response = openai::completion(&call.request, &call.reply, i as u64);
            let line =
                json!({"request": call.request, "response": response, "split": call.marks.get("split")});
            ((i as f64 + 0.5) / of, line)
        }));
    }
    // Stable: an agent's own calls stay in their order.
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.iter().for_each(|(_, line)| println!("{line}"));
    Ok(())
}

struct Came {
    /// The recorded conversation that it is of.
    errand: String,
    by: Option<String>,
    agrees: bool,
    failed: bool,
    stratum: String,
    novel: bool,
    took: Duration,
}

async fn send(folder: &Path, name: &str, url: &str, key: &str, workers: usize, limit: usize) -> Result<()> {
    let calls: Vec<Recorded> = playback::recorded(folder, name)?
        .into_iter()
        .filter(|c| c.marks.get("split") == Some(&json!("test")))
        .take(limit)
        .collect();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let endpoint = format!("{url}/chat/completions");
    // The first call only proves to the gateway that the provider takes the key.
    if let Some(first) = calls.first() {
        one(&client, &endpoint, key, first).await?;
    }
    let came: Vec<Result<Came>> = stream::iter(&calls)
        .map(|c| one(&client, &endpoint, key, c))
        .buffer_unordered(workers)
        .collect()
        .await;
    let came: Vec<Came> = came.into_iter().collect::<Result<_>>()?;

    let mut strata: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut wrong = 0u64;
    let (mut known, mut novel) = ([0u64; 3], [0u64; 3]);
    let mut errands: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for c in &came {
        let served = c.by.is_some();
        if served && !c.novel {
            let (agreed, of) = errands.entry(c.errand.as_str()).or_default();
            *agreed += u32::from(c.agrees);
            *of += 1;
        }
        wrong += u64::from(served && !c.agrees);
        for counts in
            [strata.entry(c.stratum.as_str()).or_default(), if c.novel { &mut novel } else { &mut known }]
        {
            counts[0] += 1;
            counts[1] += u64::from(served);
            counts[2] += u64::from(served && c.agrees);
        }
        times
            .entry(if served { "understudy" } else { "provider" })
            .or_default()
            .push(c.took.as_secs_f64() * 1000.0);
    }
    let p50 = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v.get(v.len() / 2).copied()
    };
    let times: BTreeMap<&str, Option<f64>> = times.iter_mut().map(|(k, v)| (*k, p50(v))).collect();
    // Calls of one conversation are not independent.
    let means: Vec<f64> = errands.values().map(|(agreed, of)| f64::from(*agreed) / f64::from(*of)).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    let agreement = interval::of_means(&means, 0.95).map(|(low, high)| [mean, low, high]);
    println!(
        "{}",
        json!({"agreement": agreement, "calls": came.len(), "failed": came.iter().filter(|c| c.failed).count(), "wrongly_served": wrong,
            "known": known, "novel": novel, "p50_ms": times, "strata": strata})
    );
    Ok(())
}

async fn one(client: &reqwest::Client, endpoint: &str, key: &str, call: &Recorded) -> Result<Came> {
    let began = Instant::now();
    let response = client.post(endpoint).bearer_auth(key).json(&call.request).send().await?;
    let by =
        response.headers().get("x-understudy-answered-by").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let status = response.status();
    let body: Value = response.json().await.unwrap_or_default();
    let message = &body["choices"][0]["message"];
    let id = call.marks.get("id").and_then(Value::as_str).map(str::to_owned);
    Ok(Came {
        errand: id.unwrap_or_else(|| call.request.to_string()),
        by,
        agrees: meaning(message) == meaning(&call.reply),
        failed: !status.is_success(),
        stratum: stratum(&call.reply),
        novel: call.marks.get("novel") == Some(&json!(true)),
        took: began.elapsed(),
    })
}

/// What a message says, ids aside: names with parsed arguments, or parsed JSON, or text.
fn meaning(message: &Value) -> Value {
    if let Some(calls) = message["tool_calls"].as_array().filter(|c| !c.is_empty()) {
        return calls
            .iter()
            .map(|c| {
                let arguments = c["function"]["arguments"].as_str().unwrap_or_default();
                json!([c["function"]["name"], serde_json::from_str::<Value>(arguments).unwrap_or_default()])
            })
            .collect();
    }
    let text = message["content"].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn stratum(reply: &Value) -> String {
    match reply["tool_calls"][0]["function"]["name"].as_str() {
        Some(name) => name.to_owned(),
        None => {
            let text = reply["content"].as_str().unwrap_or_default();
            if serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object()) {
                text.to_owned()
            } else {
                "text".to_owned()
            }
        }
    }
}
