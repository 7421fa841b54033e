//! `understudy check`: whether the configuration is right, and what it comes to.

use crate::cli::Out;
use crate::config::Config;
use crate::failure::{Exit, Failure};

/// Shows it; mistakes have been reported when it was read.
///
/// # Errors
/// When nothing can be written.
pub(crate) fn main(config: &Config, out: &Out) -> Result<Exit, Failure> {
    let summary = serde_json::json!({
        "file": config.file,
        "state": config.state,
        "cache": config.cache,
        "listen": config.gateway.listen,
        "providers": config.gateway.providers.iter().map(|p| &p.name).collect::<Vec<_>>(),
        "train": config.train.keys().collect::<Vec<_>>(),
    });
    out.show(&summary, |_| {
        let file = config.file.as_ref().map_or_else(|| "no file: the defaults".to_owned(), |f| f.display().to_string());
        let providers: Vec<&str> = config.gateway.providers.iter().map(|p| p.name.as_str()).collect();
        let listen: Vec<String> = config.gateway.listen.iter().map(ToString::to_string).collect();
        format!(
            "the configuration is right\n  read       {file}\n  listens    {}\n  providers  {}\n  state      {}\n",
            listen.join(", "),
            providers.join(", "),
            config.state.display()
        )
    })
}
