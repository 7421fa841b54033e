//! `understudy ready`: whether the proxy takes calls; in a pod, the wait before the
//! agent's container starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;

use crate::config::Config;
use crate::console;
use crate::failure::{Exit, Failure};

/// Between two questions: an agent's first call waits no longer than it must.
const BETWEEN: Duration = Duration::from_millis(50);

/// Time for an answer from this machine.
const WITHIN: Duration = Duration::from_secs(1);

/// `understudy ready`
#[derive(Debug, Args)]
pub(crate) struct Ready {
    /// How long to wait for it, such as 20s
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) wait: Duration,
    /// Succeeds even if it is not: as a container's hook, which must not fail
    #[arg(long)]
    pub(crate) go_on: bool,
}

/// Waits until the proxy is ready or the time is over.
///
/// # Errors
/// It is not ready, and the caller does not go on regardless.
pub(crate) fn main(config: &Config, args: &Ready) -> Result<Exit, Failure> {
    let Some(listen) = config.metrics.listen.filter(|_| config.metrics.enabled) else {
        return Err(Failure::Unavailable(
            "metrics.enabled is false, so nobody says whether the proxy is ready".to_owned(),
        ));
    };
    let url = format!("http://{}/readyz", here(listen));
    let ready = console::runtime()?.block_on(is_ready(&url, args.wait));
    if ready {
        return Ok(Exit::Done);
    }
    let within = if args.wait.is_zero() {
        String::new()
    } else {
        format!(" within {}", humantime::format_duration(args.wait))
    };
    let said = format!("the proxy is not ready: {url} did not say so{within}");
    if args.go_on {
        tracing::warn!("{said}; going on without it");
        return Ok(Exit::Done);
    }
    Err(Failure::Unavailable(said))
}

async fn is_ready(url: &str, wait: Duration) -> bool {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(WITHIN).build() else { return false };
    let began = Instant::now();
    loop {
        if http.get(url).send().await.is_ok_and(|r| r.status().is_success()) {
            return true;
        }
        if began.elapsed() >= wait {
            return false;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// The address by which this machine reaches a listener of its own.
fn here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        let at = |text: &str| here(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:9191"), "127.0.0.1:9191");
        assert_eq!(at("[::]:9191"), "[::1]:9191");
        assert_eq!(at("10.0.0.7:9191"), "10.0.0.7:9191");
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        assert!(!is_ready("http://127.0.0.1:1/readyz", Duration::ZERO).await);
    }
}
