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
    /// The engine is away, or does not say which models it has.
    #[error(
        "the engine does not answer: an adapter is taken in when it is back; 'understudy model check' says what is wrong"
    )]
    NoEngine,
    /// Texts could not be embedded.
    #[error("the rows could not be embedded")]
    Embed(#[source] understudy_call::EmbedError),
    /// Nothing to make a version of.
    #[error(
        "there is no training row with an embedding, or fewer than half of the development rows could be answered: the engine's log says whether the adapter is damaged or of another base"
    )]
    NoRows,
    /// The task's messages are not what the adapter learnt them to be.
    #[error(
        "the task's messages begin or end with other instructions than when the adapter was trained: train another one"
    )]
    OtherFrame,
    /// A kept version belongs to a remote that is no longer configured.
    #[error("remote {0} is not configured any more: add it again, or let the version go")]
    NoRemote(String),
}
