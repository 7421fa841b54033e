//! Commands that ask a running proxy.

use std::num::NonZeroUsize;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::client::{Client, segment};
use crate::admin::pages::{Acted, DecisionRow, SavingsPage, Status, Stopped, TaskPage, TaskRow};
use crate::config::Config;
use crate::console::{Out, by, runtime};
use crate::failure::{Exit, Failure};
use crate::tables;

fn get<T: DeserializeOwned + Serialize>(config: &Config, path: &str) -> Result<T, Failure> {
    runtime()?.block_on(async { Client::find(&config.state)?.get(path).await })
}

fn post<T: DeserializeOwned + Serialize>(
    config: &Config,
    path: &str,
    body: &serde_json::Value,
) -> Result<T, Failure> {
    runtime()?.block_on(async { Client::find(&config.state)?.post(path, body).await })
}

pub(super) fn tasks(config: &Config, out: &Out) -> Result<Exit, Failure> {
    let rows = get::<Vec<TaskRow>>(config, "/v1/tasks")?;
    let status = if out.json { Status::default() } else { get::<Status>(config, "/v1/status")? };
    out.show(&rows, |t| match status.capture.strip_prefix("off: ") {
        Some(why) if t.is_empty() => format!("no tasks: nothing is recorded: {why}\n"),
        _ => format!("{}{}", away(&status), tables::tasks(t)),
    })
}

/// A line where the worker is away.
fn away(status: &Status) -> String {
    if status.worker_away {
        format!("the worker is {}; every call goes to the provider meanwhile\n", status.worker)
    } else {
        String::new()
    }
}

pub(super) fn task(config: &Config, task: &str, out: &Out) -> Result<Exit, Failure> {
    out.show(&get::<TaskPage>(config, &format!("/v1/tasks/{}", segment(task)))?, tables::task)
}

pub(super) fn understudies(config: &Config, task: &str, out: &Out) -> Result<Exit, Failure> {
    let page = get::<TaskPage>(config, &format!("/v1/tasks/{}", segment(task)))?;
    out.show(&page.understudies, |u| tables::understudies(u))
}

pub(super) fn adopt(config: &Config, task: &str, adapter: &str, out: &Out) -> Result<Exit, Failure> {
    let body = serde_json::json!({ "adapter": adapter, "by": by() });
    out.show(&post::<Acted>(config, &format!("/v1/tasks/{}/adopt", segment(task)), &body)?, |a| a.line())
}

pub(super) fn rename(config: &Config, task: &str, name: &str, out: &Out) -> Result<Exit, Failure> {
    let body = serde_json::json!({ "name": name, "by": by() });
    out.show(&post::<Acted>(config, &format!("/v1/tasks/{}/name", segment(task)), &body)?, |a| a.line())
}

pub(super) fn act(config: &Config, task: &str, action: &str, out: &Out) -> Result<Exit, Failure> {
    let body = serde_json::json!({ "by": by() });
    out.show(&post::<Acted>(config, &format!("/v1/tasks/{}/{action}", segment(task)), &body)?, |a| a.line())
}

pub(super) fn decisions(config: &Config, last: NonZeroUsize, out: &Out) -> Result<Exit, Failure> {
    out.show(&get::<Vec<DecisionRow>>(config, &format!("/v1/decisions?last={last}"))?, |d| {
        tables::decisions(d)
    })
}

pub(super) fn savings(config: &Config, out: &Out) -> Result<Exit, Failure> {
    out.show(&get::<SavingsPage>(config, "/v1/savings")?, tables::savings)
}

pub(super) fn stop_serving(config: &Config, resume: bool, out: &Out) -> Result<Exit, Failure> {
    let body = serde_json::json!({ "resume": resume, "by": by() });
    out.show(&post::<Stopped>(config, "/v1/stop-serving", &body)?, |s| {
        if s.stopped {
            "every call goes to the provider; `understudy stop-serving --resume` lets tasks answer again\n"
                .to_owned()
        } else {
            "tasks that have earned it answer again\n".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_for_tasks_is_told_that_the_worker_is_away() {
        let said = |worker: &str, worker_away| {
            away(&Status { worker: worker.to_owned(), worker_away, ..Status::default() })
        };
        let down = said("down: the journal failed: the disk is full; it begins again in 4 s", true);
        assert!(down.starts_with("the worker is down: the journal failed"), "{down}");
        assert_eq!(said("frozen: nothing is learnt", false), "");
        // What an older proxy answers, which does not say it.
        let older = serde_json::from_value::<Status>(serde_json::json!({
            "version": "0", "pid": 1, "up_seconds": 1, "listen": [], "stopped": false,
            "capture": "recording", "engine": "ready", "worker": "rehearsing",
        }));
        assert_eq!(away(&older.unwrap()), "");
    }
}
