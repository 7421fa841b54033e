/// Why the cast could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CastError {
    /// The client could not be built.
    #[error("no HTTP client for the engine: check its address")]
    Client(#[source] reqwest::Error),
    /// A kept version is not of this program's writing.
    #[error("cast note is not readable: {0}; the version is gone and its task starts with a new one")]
    Note(#[from] serde_json::Error),
    /// A kept version is not what its name says.
    #[error("cast version {named} hashes to {found}: it was damaged, and is left out")]
    Damaged {
        /// The name it was kept under.
        named: String,
        /// The name that its content has.
        found: String,
    },
    /// There is no such version.
    #[error("no version {0} in the cast")]
    Unknown(String),
    /// A kept version belongs to a remote that is no longer configured.
    #[error("remote {0} is not configured any more: add it again, or let the version go")]
    NoRemote(String),
}
