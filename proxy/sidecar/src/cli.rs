//! The command line.

mod ask;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use understudy_call::ExchangeId;

pub(crate) use ask::{by, segment};

use crate::config;
use crate::failure::{Exit, Failure};
use crate::{
    bench, check, curate, engine_child, journal_cmd, model, ready, rehearse, run, serve, specialise,
    telemetry,
};

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed
  64  the command line or the configuration is wrong
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
    #[arg(long, short, global = true, env = "UNDERSTUDY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy until it is told to end
    Serve(serve::Serve),
    /// Runs a command with its base URLs set to the proxy, starting one if need be
    Run(Run),
    /// Reads recorded calls and prints the verdict that live traffic would have reached
    Rehearse(Rehearse),
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
        #[arg(long, short = 'n', default_value_t = 50)]
        last: usize,
    },
    /// Shows what was saved
    Savings,
    /// Trains an adapter on a task's recorded calls, and lets it rehearse
    Specialise(specialise::Specialise),
    /// Looks into the journal
    #[command(subcommand)]
    Journal(Journal),
    /// Lists, fetches and checks models
    #[command(subcommand)]
    Model(Model),
    /// Serves the small models over an OpenAI-compatible API
    Engine(Engine),
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

/// `understudy run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Puts the proxy in front of a base URL that is already set, instead of leaving it alone
    #[arg(long)]
    pub(crate) chain: bool,
    /// Does not say what is set
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// `understudy rehearse`
#[derive(Debug, Args)]
pub(crate) struct Rehearse {
    /// Recorded calls, as JSON lines
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The budget of time; what was not rehearsed is said, and a second run goes on from there
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES")]
    pub(crate) minutes: f64,
    /// Where the journal of this rehearsal is kept; by default beside the state, named after the files
    #[arg(long, value_name = "FOLDER")]
    pub(crate) journal: Option<PathBuf>,
    /// Starts over: what an earlier rehearsal made in its folder goes
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Takes approval of acting tools as given (the figures say so)
    #[arg(long)]
    pub(crate) approve: bool,
    /// Reads only calls whose line has this mark; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = mark)]
    pub(crate) only: Vec<(String, String)>,
    /// Keeps calls with this mark away from everything, and measures the frozen result on them
    #[arg(long, value_name = "KEY=VALUE", value_parser = mark)]
    pub(crate) hold_out: Vec<(String, String)>,
    /// Trains an adapter for each task of which a tenth of the calls or more is still to be won, once two thirds of the calls are read, or later where 3,200 of its calls are still to come; the time for all of them. Needs providers.NAME.train = true for the --provider
    #[arg(long, value_name = "MINUTES")]
    pub(crate) specialise: Option<f64>,
    /// The provider that answered them
    #[arg(long, default_value = "openai", value_name = "NAME")]
    pub(crate) provider: String,
    /// Takes the calls as made with the key in this variable, so that `serve` can go on from their journal
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) credential_env: Option<String>,
    /// Writes the whole verdict as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// A mark of a line, as KEY=VALUE.
fn mark(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Shows its evidence
    Show(Which),
    /// Gives it a name
    Name {
        /// Its id, the beginning of it, or its name
        task: String,
        /// The new name
        name: String,
    },
    /// Shows its understudies side by side
    Understudies(Which),
    /// Takes in an adapter that lies in the state folder's `adapters`; it answers its development rows first
    Adopt {
        /// Its id, the beginning of it, or its name
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
        task: String,
        /// Frees it
        #[arg(long)]
        off: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Its id, the beginning of it, or its name
    task: String,
}

/// `understudy journal`
#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// Volumes, bytes, records, drops
    Stats,
    /// The latest records, without content
    Tail {
        /// How many, 10000 at most
        #[arg(long, short = 'n', default_value_t = 20)]
        last: usize,
    },
    /// Leaves exchanges out of every training set; without any it lists those that are
    Flag {
        /// Their ids, as `journal tail` and `export` show them
        exchanges: Vec<ExchangeId>,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT", requires = "exchanges")]
        why: Option<String>,
        /// Takes their flags away
        #[arg(long, requires = "exchanges")]
        away: bool,
    },
    /// Writes exchanges as JSON lines, content included: an auditor's act, and audited
    Export {
        /// Where to; standard output without it
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The first sequence number
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
}

/// `understudy model`
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// What is there
    List,
    /// Fetches models, checks their hashes, and builds their folders
    Pull {
        /// By their names in `model list`; by default the two that are used without any configuration
        names: Vec<String>,
        /// For an engine with a GPU: attention in 16 bits, the only form that it computes
        #[arg(long)]
        gpu: bool,
        /// A GGUF file of one's own instead
        #[arg(long, value_name = "FILE", requires_all = ["output", "licence"], conflicts_with = "names")]
        gguf: Option<PathBuf>,
        /// The folder to make of it
        #[arg(long, value_name = "FOLDER", requires = "gguf")]
        output: Option<PathBuf>,
        /// Its licence, as an SPDX identifier
        #[arg(long, value_name = "NAME", requires = "gguf")]
        licence: Option<String>,
        /// Its licence forbids commercial use
        #[arg(long, requires = "gguf")]
        non_commercial: bool,
    },
    /// Checks a folder against the model contract, and loads it
    Check {
        /// By default the configured ones
        folder: Option<PathBuf>,
    },
}

/// `understudy engine`
#[derive(Debug, Args)]
pub(crate) struct Engine {
    /// Listens on an address, for other machines
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    pub(crate) listen: Option<SocketAddr>,
    /// Listens on a Unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

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
            clap_complete::generate(shell, &mut Cli::command(), "understudy", &mut std::io::stdout());
            return Ok(Exit::Done);
        }
        Command::Check { document: true } => return say(&config::document()),
        _ => {}
    }
    let config = config::load(cli.config.as_deref()).map_err(Failure::Config)?;
    let out = Out { json: cli.json };
    match cli.command {
        Command::Serve(args) => serve::main(config, &args),
        Command::Run(args) => run::main(config, args, cli.config.as_deref()),
        Command::Engine(args) => {
            telemetry::logs(&config.telemetry)?;
            engine_child::main(&config, args)
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
