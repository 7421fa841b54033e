//! `understudy run -- CMD…`: an agent under the proxy, its code untouched.
//!
//! The base-URL variables that the SDKs read are pointed at the proxy for the
//! command alone. One that the user has set, in the shell or in a file that the
//! agent may read, is reported and left alone, or, with `--chain`, becomes our
//! upstream. The command gets the signals that we get, and we end with its code.

mod child;
mod dotenv;
mod variables;

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use variables::Set;
pub(crate) use variables::{Plan, plan};

use crate::config::{Config, DEFAULT_LOG};
use crate::console::runtime;
use crate::failure::{Exit, Failure};
use crate::serve::Claimed;
use crate::state::{Claim, Running, Serves};
use crate::{serve, state, telemetry};

/// `understudy run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Puts a proxy of its own in front of a base URL that is already set, instead of leaving it alone
    #[arg(long)]
    pub(crate) chain: bool,
    /// Does not say what is set
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Through whose proxy the command's calls go.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// One that carries the calls of all who find it.
    Theirs(Running),
    /// One of our own, which records if it can.
    Own,
    /// One of our own, which only passes calls through. This process has the journal,
    /// and it is no proxy for us, since it ends with another command.
    OwnBeside(u32),
}

/// Chooses, given who has the state folder and which variables are set. A proxy under
/// which we are run ourselves outlives us.
fn choose(found: Option<Running>, shell: &dyn Fn(&str) -> Option<String>) -> Way {
    match found {
        None => Way::Own,
        Some(running) if running.serves == Serves::OneCommand && !variables::lead_to(&running, shell) => {
            Way::OwnBeside(running.pid)
        }
        Some(running) => Way::Theirs(running),
    }
}

/// The state folder for a proxy of our own, else who has it. One that cannot be had, or
/// whose proxy is not to be found, costs the recording and not the command.
fn claim(dir: &Path) -> (Claimed, Option<Running>) {
    let take = || Claim::try_take(dir, Serves::OneCommand);
    let taken = match take() {
        Ok(None) => match state::find_running(dir) {
            Some(running) => return (Claimed::Told, Some(running)),
            // One that was ending was waited for, and has let go if it could.
            None => take(),
        },
        taken => taken,
    };
    let why = match taken {
        Ok(Some(claim)) => return (Claimed::Ours(claim), None),
        Ok(None) => state::taken(dir),
        Err(why) => why,
    };
    say(&format!("these calls are not recorded: {why}"));
    (Claimed::Told, None)
}

/// Runs the command.
///
/// # Errors
/// When there is no proxy to run it under, or no such command.
pub(crate) fn main(mut config: Config, args: Run, file: Option<&Path>) -> Result<Exit, Failure> {
    if config.telemetry.log == DEFAULT_LOG {
        // The terminal is the command's; what goes wrong is still told.
        config.telemetry.log = "warn".to_owned();
    }
    let shell = |name: &str| std::env::var(name).ok();
    let files = dotenv::here();
    let set = |name: &str| Set::find(name, &shell, &files);
    let (claimed, found) = claim(&config.state);
    match choose(found, &shell) {
        Way::Own => {}
        Way::OwnBeside(pid) => say(&format!(
            "these calls are not recorded, as another `understudy run` (process {pid}) has the journal; \
             `understudy serve` in a terminal of its own records both"
        )),
        Way::Theirs(running) => {
            telemetry::logs(&config.telemetry)?;
            if args.chain && variables::chained(&set).next().is_some() {
                return Err(Failure::Usage(format!(
                    "--chain needs a proxy of its own, and one is running (process {}); end it, or set its providers.NAME.base_url instead",
                    running.pid
                )));
            }
            if file.is_some() {
                tell(
                    &args,
                    &format!(
                        "process {} is running already and is used; its configuration counts, not this one",
                        running.pid
                    ),
                );
            }
            let plan = plan(&running, args.chain, &set);
            report(&args, &plan);
            return runtime()?.block_on(child::run(&args.command, &plan.set)).map(Exit::Child);
        }
    }
    if args.chain {
        for (variable, provider, url) in variables::chained(&set) {
            if let Err(rule) = understudy_gateway::check_base_url(&url) {
                return Err(Failure::Usage(format!(
                    "--chain cannot put a proxy in front of {variable}, which is not the address of an API: {rule}"
                )));
            }
            let Some(own) = config.gateway.providers.iter_mut().find(|p| p.name == provider) else {
                continue;
            };
            own.base_url = url.trim_end_matches('/').to_owned();
        }
        let problems = config.gateway.problems();
        if !problems.is_empty() {
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(Failure::Usage(said.join("; ")));
        }
    }
    // Ports of its own, so that it disturbs nobody.
    for address in &mut config.gateway.listen {
        address.set_port(0);
    }
    for address in [&mut config.metrics.listen, &mut config.admin.listen].into_iter().flatten() {
        address.set_port(0);
    }
    if matches!(claimed, Claimed::Told) {
        // Nobody finds them.
        config.metrics.enabled = false;
    }
    let runtime = runtime()?;
    let serving = runtime.block_on(serve::start(config, claimed))?;
    let plan = plan(serving.running(), args.chain, &set);
    report(&args, &plan);
    let code = runtime.block_on(child::run(&args.command, &plan.set));
    runtime.block_on(serving.end());
    code.map(Exit::Child)
}

fn report(args: &Run, plan: &Plan) {
    for line in &plan.said {
        tell(args, line);
    }
}

fn tell(args: &Run, line: &str) {
    if !args.quiet {
        say(line);
    }
}

#[expect(clippy::print_stderr, reason = "said to the person who runs the command, beside its own output")]
fn say(line: &str) {
    eprintln!("understudy: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(serves: Serves) -> Running {
        Running {
            pid: 7,
            gateway: "127.0.0.1:4141".parse().unwrap(),
            admin: "127.0.0.1:4142".parse().unwrap(),
            metrics: None,
            prefixes: std::collections::BTreeMap::new(),
            serves,
        }
    }

    #[test]
    fn a_proxy_that_ends_with_another_command_is_not_used() {
        let choose = |found| choose(found, &|_| None);
        assert_eq!(choose(None), Way::Own);
        assert_eq!(choose(Some(running(Serves::All))), Way::Theirs(running(Serves::All)));
        assert_eq!(choose(Some(running(Serves::OneCommand))), Way::OwnBeside(7));
    }

    #[test]
    fn a_state_folder_that_cannot_be_had_does_not_keep_the_command_from_running() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "no folder").unwrap();
        let (claimed, found) = claim(&file.join("state"));
        assert!(matches!(claimed, Claimed::Told));
        assert_eq!(choose(found, &|_| None), Way::Own);
        assert!(matches!(claim(dir.path()), (Claimed::Ours(_), None)));
    }

    #[test]
    fn a_proxy_that_is_ending_is_waited_for_and_its_folder_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (Claimed::Ours(first), None) = claim(dir.path()) else { unreachable!("nobody has it") };
        let ending = first.announce(&running(Serves::OneCommand));
        ending.withdraw();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(ending));
            assert!(matches!(claim(dir.path()), (Claimed::Ours(_), None)));
        });
    }

    #[test]
    fn a_proxy_that_this_very_command_runs_under_is_used() {
        let under = |url: &'static str| {
            let set = move |name: &str| (name == "OPENAI_BASE_URL").then(|| url.to_owned());
            choose(Some(running(Serves::OneCommand)), &set)
        };
        assert_eq!(under("http://127.0.0.1:4141/v1"), Way::Theirs(running(Serves::OneCommand)));
        assert_eq!(under("http://127.0.0.1:41414/v1"), Way::OwnBeside(7));
    }
}
