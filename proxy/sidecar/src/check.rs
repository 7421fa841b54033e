//! `understudy check`: whether the configuration is right, and what it comes to.

use crate::config::Config;
use crate::console::{Out, runtime};
use crate::failure::{Exit, Failure};
use crate::telemetry;

/// Shows it; mistakes have been reported when it was read. That this machine has no way
/// to the collector is said and is no mistake, for calls flow without one.
///
/// # Errors
/// When nothing can be written.
pub(crate) fn main(config: &Config, out: &Out) -> Result<Exit, Failure> {
    let no_telemetry = runtime()?.block_on(async { telemetry::problem(&config.telemetry) });
    let summary = serde_json::json!({
        "file": config.file,
        "state": config.state,
        "cache": config.cache,
        "listen": config.gateway.listen,
        "providers": config.gateway.providers.iter().map(|p| &p.name).collect::<Vec<_>>(),
        "train": config.train.keys().collect::<Vec<_>>(),
        "no_telemetry": no_telemetry,
    });
    out.show(&summary, |_| {
        let file = config.file.as_ref().map_or_else(|| "no file: the defaults".to_owned(), |f| f.display().to_string());
        let providers: Vec<&str> = config.gateway.providers.iter().map(|p| p.name.as_str()).collect();
        let listen: Vec<String> = config.gateway.listen.iter().map(ToString::to_string).collect();
        let telemetry = no_telemetry
            .as_ref()
            .map(|why| format!("  telemetry  cannot be set up, and calls flow without it: {why}\n"))
            .unwrap_or_default();
        format!(
            "the configuration is right\n  read       {file}\n  listens    {}\n  providers  {}\n  state      {}\n{telemetry}",
            listen.join(", "),
            providers.join(", "),
            config.state.display()
        )
    })
}
