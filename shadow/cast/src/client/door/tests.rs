use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;

use super::*;
use crate::testing::block_on;

#[test]
fn a_token_that_is_renewed_is_the_next_question_s_key() {
    let dir = tempfile::tempdir().unwrap();
    let (token, authority) = (dir.path().join("token"), dir.path().join("ca.crt"));
    let addr = EngineAddr::Pod {
        url: "https://engine.understudy.svc:8443/".into(),
        token_file: Some(token.clone()),
        ca_file: Some(authority),
    };
    // Neither file is there yet: the engine is not trusted, and nothing fails.
    let door = Door::new(addr).unwrap();
    let begun = Instant::now();
    assert_eq!((door.base(), door.way().key), ("https://engine.understudy.svc:8443", None));
    std::fs::write(&token, "first\n").unwrap();
    assert_eq!(door.way_at(begun + LOOK).key.as_deref(), Some("first"));
    std::fs::write(&token, "second\n").unwrap();
    let soon = door.way_at(begun + LOOK + LOOK / 2);
    assert_eq!(soon.key.as_deref(), Some("first"), "it is looked for now and then only");
    let renewed = door.way_at(begun + 2 * LOOK);
    assert_eq!(renewed.key.as_deref(), Some("second"));
    // Nobody reviews it for the engine, which knows the first.
    door.settle(&soon, Showed::Taken);
    door.settle(&renewed, Showed::Nothing);
    assert_eq!(door.way_at(begun + 2 * LOOK + LOOK / 2).key.as_deref(), Some("first"));
    let tried = door.way_at(begun + 3 * LOOK);
    assert_eq!(tried.key.as_deref(), Some("second"));
    door.settle(&tried, Showed::Taken);
    door.settle(&tried, Showed::Nothing);
    assert_eq!(door.way_at(begun + 3 * LOOK).key.as_deref(), Some("second"), "it was taken");
    // Refused, it is looked for at once; and no token is gone back to after a pause.
    std::fs::write(&token, "third\n").unwrap();
    door.settle(&tried, Showed::Refused);
    assert_eq!(door.way_at(begun + 3 * LOOK).key.as_deref(), Some("third"));
    std::fs::write(&token, "fourth\n").unwrap();
    let late = door.way_at(begun + 3 * LOOK + RENEWED);
    door.settle(&late, Showed::Nothing);
    assert_eq!(door.way_at(begun + 3 * LOOK + RENEWED).key.as_deref(), Some("fourth"));
    std::fs::remove_file(&token).unwrap();
    assert_eq!(door.way_at(begun + 4 * LOOK + RENEWED).key.as_deref(), Some("fourth"));
}

/// The port that a question comes from: each connection has one of its own.
async fn port(way: &Way, url: &str) -> String {
    way.http.get(url).send().await.unwrap().text().await.unwrap()
}

#[test]
fn a_connection_to_an_address_is_used_for_a_minute_and_what_is_under_way_keeps_it() {
    block_on(async {
        let ask = |ConnectInfo(from): ConnectInfo<SocketAddr>| async move { from.port().to_string() };
        let app = Router::new().route("/", get(ask)).into_make_service_with_connect_info::<SocketAddr>();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });

        let door = Door::new(EngineAddr::Http(url.clone(), None)).unwrap();
        let begun = door.open.lock().unwrap().opened;
        let before = door.way_at(begun + OPEN / 2);
        assert_eq!(door.open.lock().unwrap().opened, begun, "not yet");
        let first = port(&before, &url).await;
        let after = door.way_at(begun + OPEN);
        assert_eq!(door.open.lock().unwrap().opened, begun + OPEN);
        assert_ne!(port(&after, &url).await, first);
        assert!(!port(&before, &url).await.is_empty());
    });
}

#[cfg(unix)]
#[test]
fn the_child_on_a_socket_keeps_its_connection() {
    let door = Door::new(EngineAddr::Unix("/nowhere/engine.sock".into())).unwrap();
    let begun = door.open.lock().unwrap().opened;
    door.way_at(begun + 10 * OPEN);
    assert_eq!(door.open.lock().unwrap().opened, begun);
    let door = Door::new(EngineAddr::Http("http://127.0.0.1:9".into(), None)).unwrap().kept();
    let begun = door.open.lock().unwrap().opened;
    door.way_at(begun + 10 * OPEN);
    assert_eq!(door.open.lock().unwrap().opened, begun);
}
