//! The peers that Understudy is tried against.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the whole crate is tests and their peers: a failure here should stop the run"
)]

pub mod authority;
pub mod collector;
pub mod desk;
pub mod openai;
pub mod peer;
pub mod playback;
pub mod process;
pub mod proxy;
pub mod shape;
pub mod standin;
