//! What a command has around it: the terminal, a runtime, who gave the order.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Exit, Failure};

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// For programs.
    pub(crate) json: bool,
}

impl Out {
    /// Prints the value as JSON, or what the table makes of it.
    pub(crate) fn show<T: serde::Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<Exit, Failure> {
        if self.json {
            let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
            say(&format!("{text}\n"))
        } else {
            say(&table(value))
        }
    }

    /// A [`bar`], and none for programs.
    pub(crate) fn bar(&self, len: u64, template: &str) -> ProgressBar {
        if self.json { ProgressBar::hidden() } else { bar(len, template) }
    }
}

/// How far something long is, on a terminal. The template is indicatif's.
pub(crate) fn bar(len: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(len);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Writes to standard output; a reader that went away is not an error.
pub(crate) fn say(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(error.to_string()))
        }
        _ => Ok(Exit::Done),
    }
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start threads: {e}")))
}

/// Who gave the order, for the record.
pub(crate) fn by() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".to_owned())
}
