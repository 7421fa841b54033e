//! What can go wrong before or beside the calls, and the exit code for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Mistake;

/// The process's exit codes, listed in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// It failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// What an earlier training left does not fit.
    Unfit,
    /// Something that is needed is not there.
    Unavailable,
    /// It may work later.
    Temporary,
    /// The code of the command under `run`.
    Child(u8),
}

impl Exit {
    /// As the shell sees it (the numbers of sysexits.h).
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unfit => 65,
            Self::Unavailable => 69,
            Self::Temporary => 75,
            Self::Child(code) => code,
        }
    }
}

/// Why a command ends without having done its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Every mistake in the configuration.
    #[error("the configuration has {}:\n{}", count(.0.len()), lines(.0))]
    Config(Vec<Mistake>),
    /// Arguments that contradict each other or name something unknown.
    #[error("{0}")]
    Usage(String),
    /// Somebody else listens there.
    #[error("{what} cannot listen on {address}: the port is taken; end whoever has it (`ss -ltnp 'sport = :{}'` names it), or set {key} to another", address.port())]
    PortTaken {
        /// Gateway, metrics, admin.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The key that moves it.
        key: &'static str,
    },
    /// Another problem with an address.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Gateway, metrics, admin.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No proxy runs with this state folder.
    #[error("no understudy is running with the state folder {}; start one with `understudy serve`", .0.display())]
    NotRunning(PathBuf),
    /// One does already.
    #[error("an understudy is running already (process {pid}) with the state folder {}; use that one, or set state.dir", state.display())]
    Running {
        /// Its process.
        pid: u32,
        /// The folder.
        state: PathBuf,
    },
    /// The admin API refused or failed.
    #[error("the running understudy answered: {0}")]
    Admin(String),
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thing that is needed and not there, with the remedy.
    #[error("{0}")]
    Unavailable(String),
    /// A training cannot go on from what is there; it can begin anew.
    #[error("{0}")]
    Unfit(String),
    /// Somebody else has what is needed, for now.
    #[error("{0}")]
    Temporary(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    /// The exit code that says whose fault it is.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Unfit(_) => Exit::Unfit,
            Self::NotRunning(_) | Self::Unavailable(_) => Exit::Unavailable,
            Self::PortTaken { .. } | Self::Running { .. } | Self::Temporary(_) => Exit::Temporary,
            Self::Listen { .. } | Self::Admin(_) | Self::File { .. } | Self::Failed(_) => Exit::Failed,
        }
    }
}

fn count(n: usize) -> String {
    if n == 1 { "a mistake".into() } else { format!("{n} mistakes") }
}

fn lines(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(|m| format!("  {m}")).collect();
    lines.join("\n")
}

/// An error with all that lies below it.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        below = source.source();
    }
    text
}
