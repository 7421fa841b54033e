//! What is said of an engine at an address of its own. Calls go to the provider while it
//! is away, so nobody else would tell.

use std::time::Duration;

use reqwest::Url;
use tokio::net::{TcpStream, UnixStream};

/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(30);

/// Time for a connection.
const WITHIN: Duration = Duration::from_secs(5);

/// Says when the engine at an address cannot be reached, and when it can again.
pub(super) async fn watch(address: String, ending: impl Future<Output = ()>) {
    tokio::select! {
        () = ending => {}
        () = look(&address) => {}
    }
}

async fn look(address: &str) {
    let mut away = false;
    loop {
        let found = reach(address).await;
        match &found {
            Err(why) if !away => {
                tracing::warn!(address, why, "the engine cannot be reached; calls go to the provider");
            }
            Ok(()) if away => tracing::info!(address, "the engine can be reached again"),
            _ => {}
        }
        away = found.is_err();
        tokio::time::sleep(LOOK).await;
    }
}

async fn reach(address: &str) -> Result<(), String> {
    match tokio::time::timeout(WITHIN, connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("no connection within {} s", WITHIN.as_secs())),
    }
}

async fn connect(address: &str) -> Result<(), String> {
    if let Some(path) = address.strip_prefix("unix:") {
        return UnixStream::connect(path).await.map(drop).map_err(|e| e.to_string());
    }
    let url = Url::parse(address).map_err(|e| e.to_string())?;
    let host = url.host_str().ok_or("its address has no host")?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or("its address has no port")?;
    TcpStream::connect((host, port)).await.map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_is_told_with_the_reason() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let port = there.local_addr().unwrap().port();
        assert_eq!(reach(&url(port)).await, Ok(()));
        drop(there);
        let why = reach(&url(port)).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
        assert!(reach("http://[::1]:1/").await.is_err());
        // The pod's own, on a socket.
        let dir = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}", dir.path().join("engine.sock").display());
        assert!(reach(&unix).await.is_err());
        let _there = tokio::net::UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        assert_eq!(reach(&unix).await, Ok(()));
    }
}
