//! The gateway over real sockets, between an agent and a provider that the tests play.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod audits;
mod bench;
mod connections;
mod http2;
mod limits;
mod pass_through;
mod scene;
mod serving;
mod support;
mod tls;
