//! What is said of an engine at an address of its own, and of keys that are not there.
//! Calls go to the provider without either, so nobody else would tell.

use std::time::Duration;

use reqwest::Url;
use tokio::net::TcpStream;

use crate::config::Config;

/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(30);

/// Time for a connection.
const WITHIN: Duration = Duration::from_secs(5);

/// Says which variables that are to hold a key hold none.
pub(super) fn say_missing_keys(config: &Config) {
    let engine = config.engine.key_env.iter().map(|name| ("engine".to_owned(), name));
    let remotes =
        config.remotes.iter().filter_map(|r| Some((format!("remote.{}", r.name), r.key_env.as_ref()?)));
    for (section, name) in engine.chain(remotes) {
        if std::env::var_os(name).is_none_or(|key| key.is_empty()) {
            tracing::warn!(
                section,
                key_env = name,
                "the variable is not set, so nobody is shown a key: calls are refused there, or cost what they do without one"
            );
        }
    }
}

/// Says when the engine at an address cannot be reached, and when it can again.
pub(super) async fn watch(address: Url, ending: impl Future<Output = ()>) {
    tokio::select! {
        () = ending => {}
        () = look(&address) => {}
    }
}

async fn look(address: &Url) {
    let mut away = false;
    loop {
        let found = reach(address).await;
        match &found {
            Err(why) if !away => {
                tracing::warn!(%address, why, "the engine cannot be reached; calls go to the provider");
            }
            Ok(()) if away => tracing::info!(%address, "the engine can be reached again"),
            _ => {}
        }
        away = found.is_err();
        tokio::time::sleep(LOOK).await;
    }
}

async fn reach(address: &Url) -> Result<(), String> {
    let host = address.host_str().ok_or("its address has no host")?.trim_matches(['[', ']']);
    let port = address.port_or_known_default().ok_or("its address has no port")?;
    match tokio::time::timeout(WITHIN, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_is_reached_and_who_does_not_is_told_with_the_reason() {
        let there = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |port: u16| Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let port = there.local_addr().unwrap().port();
        assert_eq!(reach(&url(port)).await, Ok(()));
        drop(there);
        let why = reach(&url(port)).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
        assert!(reach(&Url::parse("http://[::1]:1/").unwrap()).await.is_err());
    }
}
