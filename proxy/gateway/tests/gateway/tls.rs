use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use understudy_gateway::{GatewayConfig, GatewayError, Provider, Seams};

use crate::support::*;

/// TLS for `localhost`, with HTTP/2, under an authority of its own; and its certificate.
pub(crate) fn certified() -> (TlsAcceptor, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut ca = NamedTempFile::new().unwrap();
    ca.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(tls)), ca)
}

/// A TLS provider called `localhost`. It answers with the version of HTTP it was
/// asked in, the host it was asked for, and whether a 100 is waited for; asked for a
/// WebSocket, it says back whatever comes.
pub(crate) async fn provider() -> (SocketAddr, NamedTempFile) {
    let (acceptor, ca) = certified();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(|mut request: Request<Incoming>| async move {
                    if request.headers().contains_key("upgrade") {
                        tokio::spawn(echo(hyper::upgrade::on(&mut request)));
                        let response = Response::builder()
                            .status(101)
                            .header("connection", "upgrade")
                            .header("upgrade", "websocket")
                            .header("x-version", format!("{:?}", request.version()));
                        return Ok(response.body(Full::default()).unwrap());
                    }
                    let (head, body) = request.into_parts();
                    let _ = body.collect().await;
                    let host = head.uri.authority().map(|a| a.host().to_owned());
                    let waits = if head.headers.contains_key("expect") { " waits" } else { "" };
                    let body = format!("{:?} {} {host:?}{waits}", head.version, head.uri.path());
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    (address, ca)
}

async fn echo(upgrading: OnUpgrade) {
    let Ok(upgraded) = upgrading.await else { return };
    let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

pub(crate) fn tls_config(at: SocketAddr, ca: Option<&NamedTempFile>, http2: bool) -> GatewayConfig {
    GatewayConfig {
        providers: vec![Provider {
            base_url: format!("https://localhost:{}/v1", at.port()),
            ca_file: ca.map(|f| f.path().to_owned()),
            http2,
            ..Provider::openai()
        }],
        ..config(at)
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_configured() {
    let (at, ca) = provider().await;
    let world = open(tls_config(at, Some(&ca), true));
    for _ in 0..3 {
        let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
        assert_eq!((got.status(), got.text()), (200, "HTTP/2.0 /v1/chat/completions Some(\"localhost\")"));
    }
    let world = open(tls_config(at, Some(&ca), false));
    let got = send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert_eq!((got.status(), got.text()), (200, "HTTP/1.1 /v1/chat/completions None"));
}

/// HTTP/2 has no such upgrade (RFC 9113, 8.6): where a provider speaks it, a WebSocket
/// gets a connection of its own, whichever one is open already.
#[tokio::test]
async fn a_websocket_to_a_provider_of_http2_is_made_over_http1() {
    let (at, ca) = provider().await;
    let world = open(tls_config(at, Some(&ca), true));
    let usual = async || send(world.gateway, post("/v1/chat/completions", "{}")).await;
    assert!(usual().await.text().starts_with("HTTP/2.0"));
    let mut agent = TcpStream::connect(world.gateway).await.unwrap();
    let got = exchange(&mut agent, UPGRADE).await;
    assert_eq!((got.status(), got.header("x-version")), (101, Some("HTTP/1.1")), "{got:?}");
    for message in ["hello", "\u{0}\u{1}binary", "bye"] {
        agent.write_all(message.as_bytes()).await.unwrap();
        let mut back = vec![0; message.len()];
        agent.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message.as_bytes());
    }
    assert!(usual().await.text().starts_with("HTTP/2.0"), "the others go on as they did");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (at, _ca) = provider().await;
    let (_, other) = provider().await;
    for ca in [None, Some(&other)] {
        let world = open(tls_config(at, ca, true));
        let got = send(world.gateway, post("/v1/chat/completions", "{\"secret\":1}")).await;
        assert_eq!((got.status(), got.header("x-understudy-fault")), (502, Some("provider")));
        assert!(got.text().contains("could not be verified"), "{}", got.text());
    }
}

#[tokio::test]
async fn a_certificate_file_that_is_not_one_is_said_at_the_start() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"nothing of the kind").unwrap();
    let cfg = tls_config("127.0.0.1:1".parse().unwrap(), Some(&file), true);
    let err = understudy_gateway::build(cfg, Seams::pass_through(key())).unwrap_err();
    assert!(matches!(err, GatewayError::CaFile { .. }), "{err}");
}
