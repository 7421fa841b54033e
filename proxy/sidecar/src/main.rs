//! The binary `understudy`: configuration, wiring and command line.
//!
//! [`cli`] says what can be asked and [`dispatch`] who does it, [`serve`] is the
//! life of the process, [`config`] every key, [`run`] an agent under the proxy,
//! [`admin`] what the command line asks a running proxy, [`telemetry`] and
//! [`metrics`] what the outside sees.

mod admin;
mod bench;
mod check;
mod cli;
mod config;
mod console;
mod core_files;
mod curate;
mod dispatch;
mod engine;
mod engine_child;
mod failure;
mod journal_cmd;
mod library;
mod metrics;
mod model;
mod outlived;
mod ready;
mod rehearse;
mod run;
mod serve;
mod specialise;
mod state;
mod tables;
mod telemetry;

use std::process::ExitCode;

/// Calls allocate many small buffers from many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stderr, reason = "the one place where a command's failure is told")]
fn main() -> ExitCode {
    library::tells_nobody();
    core_files::refuse();
    core_files::open_many();
    match dispatch::main() {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            eprintln!("understudy: {failure}");
            ExitCode::from(failure.exit().code())
        }
    }
}
