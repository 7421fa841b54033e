//! `stand-in [--port P | --listen ADDRESS] [--delay-ms D] [--chunk-gap-ms G]`: the stand-in provider.
//! Prints its base URL.
#![allow(clippy::print_stdout, reason = "its one line of output is its address")]

use std::time::Duration;

use anyhow::{Context, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut listen: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    let (mut delay_ms, mut chunk_gap_ms) = (0u64, 0u64);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--port" => listen.set_port(value.parse().context("--port takes a number")?),
            "--listen" => listen = value.parse().context("--listen takes an address such as 0.0.0.0:80")?,
            "--delay-ms" => delay_ms = value.parse().context("--delay-ms takes a number")?,
            "--chunk-gap-ms" => chunk_gap_ms = value.parse().context("--chunk-gap-ms takes a number")?,
            other => {
                anyhow::bail!(
                    "unknown flag {other}: known are --port, --listen, --delay-ms and --chunk-gap-ms"
                )
            }
        }
    }
    let config = understudy_tests::standin::Config {
        delay: Duration::from_millis(delay_ms),
        chunk_gap: Duration::from_millis(chunk_gap_ms),
    };
    let listener = tokio::net::TcpListener::bind(listen).await.context("bind")?;
    println!("http://{}/v1", listener.local_addr()?);
    axum::serve(listener, understudy_tests::standin::router(config)).await?;
    Ok(())
}
