//! The command line. Each command has its own arguments beside it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};

use crate::{bench, curate, engine, journal_cmd, model, ready, rehearse, run, serve, specialise};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed
  64  the command line or the configuration is wrong
  65  a training's checkpoint does not fit what it would go on with
  69  something that is needed is not there (no proxy runs, no model)
  75  it may work later (a port is taken, another proxy runs)
  …   under `run`: the command's own code, or 128 and the signal that ended it

NO_COLOR is respected. `--json` is for programs.";

/// Records an agent's calls, lets a small model rehearse them, and lets it
/// answer those that it has earned.
#[derive(Debug, Parser)]
#[command(name = "understudy", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The configuration; without it `~/.config/understudy/understudy.toml` where there is one
    /// [env: UNDERSTUDY_CONFIG]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Prints JSON instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the proxy until it is told to end
    Serve(serve::Serve),
    /// Runs a command with its base URLs set to the proxy, starting one if need be
    Run(run::Run),
    /// Reads recorded calls and prints the verdict that live traffic would have reached (for tasks of several turns up to an opened canary)
    Rehearse(rehearse::Rehearse),
    /// Lists the tasks: stage, coverage, agreement, what is missing
    Tasks,
    /// Shows one task, or changes it
    #[command(subcommand)]
    Task(Task),
    /// Makes a training set of a task's exchanges, and says what was left out and why
    Curate(curate::Curate),
    /// Lists what was decided, and why
    Decisions {
        /// How many, the latest last
        #[arg(long, short = 'n', default_value = "50")]
        last: NonZeroUsize,
    },
    /// Shows what was saved
    Savings,
    /// Trains an adapter on a task's recorded calls, and lets it rehearse
    Specialise(specialise::Specialise),
    /// Looks into the journal
    #[command(subcommand)]
    Journal(journal_cmd::Journal),
    /// Lists, fetches and checks models
    #[command(subcommand)]
    Model(model::Model),
    /// Serves the small models over an OpenAI-compatible API
    Engine(engine::Engine),
    /// Says by its exit code whether the proxy takes calls
    Ready(ready::Ready),
    /// Puts every call on the provider at once
    StopServing {
        /// Lets tasks answer again
        #[arg(long)]
        resume: bool,
    },
    /// Measures what the proxy adds to a call, beside bare pingora
    Bench(bench::Args),
    /// Checks the configuration, reporting every mistake
    Check {
        /// Prints docs/configuration.md
        #[arg(long, hide = true)]
        document: bool,
    },
    /// Prints completions for a shell
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Shows its evidence
    Show(Which),
    /// Gives it a name
    Name {
        /// Its id, the beginning of it, or its name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        task: String,
        /// The new name
        name: String,
    },
    /// Shows its understudies side by side
    Understudies(Which),
    /// Takes in an adapter that lies in the state folder's `adapters`; it answers its development rows first
    Adopt {
        /// Its id, the beginning of it, or its name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        task: String,
        /// The adapter's folder there: 16 hexadecimal digits
        adapter: String,
    },
    /// Lets a task that waits for a person go on
    Approve(Which),
    /// Moves it one stage up against the evidence; the record says so
    Promote(Which),
    /// Moves it back to shadowing
    Demote(Which),
    /// Keeps it at its stage
    Pin {
        /// Its id, the beginning of it, or its name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        task: String,
        /// Frees it
        #[arg(long)]
        off: bool,
    },
}

/// A task.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, the beginning of it, or its name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) task: String,
}
