//! `understudy run -- CMD…`: an agent under the proxy, its code untouched.
//!
//! The base-URL variables that the SDKs read are pointed at the proxy for the
//! command alone. One that the user has set is reported and left alone, or,
//! with `--chain`, becomes our upstream. The command gets the signals that we
//! get, and we end with its code.

mod child;
mod variables;

use std::path::Path;

pub(crate) use variables::{Plan, plan};

use crate::cli::{Run, runtime};
use crate::config::{Config, DEFAULT_LOG};
use crate::failure::{Exit, Failure};
use crate::{serve, state, telemetry};

/// Runs the command.
///
/// # Errors
/// When there is no proxy to run it under, or no such command.
pub(crate) fn main(mut config: Config, args: Run, file: Option<&Path>) -> Result<Exit, Failure> {
    if config.telemetry.log == DEFAULT_LOG {
        // The terminal is the command's; what goes wrong is still told.
        config.telemetry.log = "warn".to_owned();
    }
    let found = state::find_running(&config.state);
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if let Some(running) = &found {
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
        let plan = plan(running, args.chain, &set);
        report(&args, &plan);
        return runtime()?.block_on(child::run(&args.command, &plan.set)).map(Exit::Child);
    }
    if args.chain {
        for (provider, url) in variables::chained(&set) {
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
    let runtime = runtime()?;
    let serving = runtime.block_on(serve::start(config))?;
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

#[expect(clippy::print_stderr, reason = "said to the person who runs the command, beside its own output")]
fn tell(args: &Run, line: &str) {
    if !args.quiet {
        eprintln!("understudy: {line}");
    }
}
