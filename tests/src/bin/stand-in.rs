//! `stand-in [--port P] [--delay-ms D]`: the stand-in provider. Prints its base URL.
#![allow(clippy::print_stdout, reason = "its one line of output is its address")]

use std::time::Duration;

use anyhow::{Context, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut port = 0u16;
    let mut delay_ms = 0u64;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--port" => port = value.parse().context("--port takes a number")?,
            "--delay-ms" => delay_ms = value.parse().context("--delay-ms takes a number")?,
            other => anyhow::bail!("unknown flag {other}: known are --port and --delay-ms"),
        }
    }
    let config =
        understudy_tests::standin::Config { delay: Duration::from_millis(delay_ms), ..Default::default() };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.context("bind")?;
    println!("http://{}/v1", listener.local_addr()?);
    axum::serve(listener, understudy_tests::standin::router(config)).await?;
    Ok(())
}
