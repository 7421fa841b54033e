//! A peer in the test's own process: a real server on a free port, and a
//! client that sends real calls, both usable from a plain test.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::authority::Authority;
use crate::standin;

/// A server on a free port, until dropped.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    // Ends the server when it is dropped.
    _runtime: Runtime,
}

impl Peer {
    /// Serves the routes.
    #[must_use]
    pub fn new(router: Router) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, _runtime: runtime }
    }

    /// Serves the routes over TLS, with a certificate that the authority signed.
    #[must_use]
    pub fn behind_tls(router: Router, authority: &Authority) -> Self {
        let runtime = runtime();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (certificate, key) = authority.certify(address.ip());
        let server = runtime.block_on(async {
            let shown = RustlsConfig::from_pem(certificate.into(), key.into()).await.unwrap();
            from_tcp_rustls(listener, shown).unwrap()
        });
        runtime.spawn(server.serve(router.into_make_service()));
        Self { address, _runtime: runtime }
    }

    /// The stand-in provider.
    #[must_use]
    pub fn standin(config: standin::Config) -> Self {
        Self::new(standin::router(config))
    }

    /// Its base URL, as an SDK wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The understudy that answered, if one did.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        self.header("x-understudy-answered-by")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The content of the only choice.
    #[must_use]
    pub fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// A stream's events, the end mark included.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// Sends calls, as an agent does.
#[derive(Debug)]
pub struct Agent {
    client: reqwest::Client,
    runtime: Runtime,
    /// The base URL, as an SDK has it.
    pub url: String,
    /// The key.
    pub key: String,
}

impl Agent {
    /// An agent with its base URL and key.
    #[must_use]
    pub fn new(url: &str, key: &str) -> Self {
        Self {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            runtime: runtime(),
            url: url.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The same agent, which sends these headers with every call.
    #[must_use]
    pub fn with_headers(self, headers: http::HeaderMap) -> Self {
        let client = reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap();
        Self { client, ..self }
    }

    /// Sends a body to a path; an error is one of the connection.
    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<Answer, reqwest::Error> {
        self.runtime.block_on(send(&self.client, &format!("{}{path}", self.url), &self.key, body.into()))
    }

    /// Asks one question. The call must not fail.
    #[must_use]
    pub fn ask(&self, request: &Value) -> Answer {
        self.post("/chat/completions", request.to_string()).expect("the call failed")
    }

    /// Asks many, so many at once; answers in the order of the questions. A
    /// failed connection is a call that failed.
    #[must_use]
    pub fn ask_all(&self, requests: Vec<Value>, at_once: usize) -> Vec<Result<Answer, String>> {
        let url: Arc<str> = format!("{}/chat/completions", self.url).into();
        let calls = requests.into_iter().map(|r| {
            let url = Arc::clone(&url);
            async move {
                send(&self.client, &url, &self.key, r.to_string().into()).await.map_err(|e| format!("{e:?}"))
            }
        });
        self.runtime.block_on(stream::iter(calls).buffered(at_once).collect())
    }
}

async fn send(
    client: &reqwest::Client,
    url: &str,
    key: &str,
    body: reqwest::Body,
) -> Result<Answer, reqwest::Error> {
    let request = client.post(url).bearer_auth(key).header("content-type", "application/json");
    let response = request.body(body).send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}
