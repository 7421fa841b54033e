//! From the command line to what does it.

mod ask;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command, Task};
use crate::config;
use crate::console::{Out, say};
use crate::failure::{Exit, Failure};
use crate::{
    bench, check, curate, engine, journal_cmd, model, ready, rehearse, run, serve, specialise, telemetry,
};

/// Does what was asked.
///
/// # Errors
/// What stood in the way, with its exit code.
pub(crate) fn main() -> Result<Exit, Failure> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Exit::Usage } else { Exit::Done });
        }
    };
    match cli.command {
        Command::Completions { shell } => {
            // Into memory first: what writes it panics where a pipe is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "understudy", &mut script);
            return say(&String::from_utf8_lossy(&script));
        }
        Command::Check { document: true } => return say(&config::document()),
        _ => {}
    }
    // An empty variable is none, as everywhere in a shell; clap would blame --config.
    let from_variable = || std::env::var_os("UNDERSTUDY_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
    let file = cli.config.or_else(from_variable);
    let config = config::load(file.as_deref()).map_err(Failure::Config)?;
    let out = Out { json: cli.json };
    match cli.command {
        Command::Serve(args) => serve::main(config, &args),
        Command::Run(args) => run::main(config, args, file.as_deref()),
        Command::Engine(args) => {
            telemetry::logs(&config.telemetry)?;
            engine::main(&config, args)
        }
        Command::Ready(args) => {
            telemetry::logs(&config.telemetry)?;
            ready::main(&config, &args)
        }
        Command::Check { .. } => check::main(&config, &out),
        Command::Model(what) => model::main(&config, what, &out),
        Command::Rehearse(args) => rehearse::main(config, args, &out),
        Command::Bench(args) => bench::main(&config, &args, &out),
        Command::Specialise(args) => {
            telemetry::logs(&config.telemetry)?;
            specialise::main(&config, &args, &out)
        }
        Command::Journal(what) => journal_cmd::main(&config, what, &out),
        Command::Tasks => ask::tasks(&config, &out),
        Command::Task(Task::Show(which)) => ask::task(&config, &which.task, &out),
        Command::Task(Task::Understudies(which)) => ask::understudies(&config, &which.task, &out),
        Command::Task(Task::Adopt { task, adapter }) => ask::adopt(&config, &task, &adapter, &out),
        Command::Task(Task::Name { task, name }) => ask::rename(&config, &task, &name, &out),
        Command::Task(Task::Approve(which)) => ask::act(&config, &which.task, "approve", &out),
        Command::Task(Task::Promote(which)) => ask::act(&config, &which.task, "promote", &out),
        Command::Task(Task::Demote(which)) => ask::act(&config, &which.task, "demote", &out),
        Command::Task(Task::Pin { task, off }) => {
            ask::act(&config, &task, if off { "unpin" } else { "pin" }, &out)
        }
        Command::Curate(args) => curate::main(&config, &args, &out),
        Command::Decisions { last } => ask::decisions(&config, last, &out),
        Command::Savings => ask::savings(&config, &out),
        Command::StopServing { resume } => ask::stop_serving(&config, resume, &out),
        Command::Completions { .. } => Ok(Exit::Done),
    }
}
