//! What sidecars told, written into the policies' status.
//!
//! A sidecar tells whichever replica it asks. So each replica writes what it has heard
//! under its own name, and the sums, which any of them makes of all that is written:
//! whoever writes last has read the others' words, since a write of theirs is a change
//! that everybody sees.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{MOST_TASKS, Pod, Policies, Report, Told};
use crate::clock::now;
use crate::crd::{Heard, PolicyStatus, UnderstudyPolicy};
use crate::resources::{Key, full_name, write_status};
use crate::service::Service;

/// Between two writings.
const PERIOD: Duration = Duration::from_secs(1);

/// A pod that has told nothing for so long is not counted, in seconds.
const SILENT: i64 = 120;

/// What a replica has heard is written again after so long, in seconds, so that it is
/// seen to be alive.
const AGAIN: i64 = 60;

/// Reasons are cut here; a status is not a log.
const REASON: usize = 300;

/// Writes until dropped.
pub(crate) async fn write(service: Arc<Service>, me: String) {
    loop {
        tokio::time::sleep(PERIOD).await;
        for policy in service.policies.told(&me, now()) {
            write_status(&service.client, &policy).await;
        }
    }
}

impl Policies {
    /// The policies whose status is to be written, with that status.
    pub(super) fn told(&self, me: &str, now: i64) -> Vec<UnderstudyPolicy> {
        let mut inner = self.inner();
        let lately = |p: &&Pod| p.report.as_ref().is_some_and(|(at, _)| now - at <= SILENT);
        let pods: Vec<Key> =
            inner.pods.iter().filter(|(_, p)| lately(p)).map(|(key, _)| key.clone()).collect();
        let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
        for pod in pods {
            let Some(document) = inner.document(&self.home, &pod) else { continue };
            if let Some((_, report)) = inner.pods.get(&pod).and_then(|p| p.report.as_ref()) {
                for policy in &document.policies {
                    let heard = heard.entry(policy.name.clone()).or_default();
                    count(heard, policy, report, report.version == document.version);
                }
            }
        }
        heard.values_mut().for_each(bound);
        let mut told = Vec::new();
        for (key, policy) in &inner.policies {
            let generation = policy.metadata.generation.unwrap_or_default();
            let old = policy.status.clone().unwrap_or_default();
            let new = renewed(&old, me, heard.remove(&full_name(key)), generation, now);
            if new != old {
                told.push(UnderstudyPolicy { status: Some(new), ..policy.clone() });
            }
        }
        told
    }
}

/// Counts a pod for a policy that holds for it.
fn count(heard: &mut Heard, policy: &Told, report: &Report, is_current: bool) {
    let reason = report.refused.get(&policy.name);
    heard.pods += 1;
    heard.refused += u32::from(reason.is_some());
    heard.applied += u32::from(is_current && reason.is_none());
    heard.reason = heard.reason.take().or(reason.map(|r| r.chars().take(REASON).collect()));
    for (task, stage) in &report.tasks {
        if policy.is_for(task, report.ids.get(task)) {
            *heard.tasks.entry(task.clone()).or_default().entry(stage.clone()).or_default() += 1;
        }
    }
}

/// Leaves the tasks that most pods have, by name among equals.
fn bound(heard: &mut Heard) {
    if heard.tasks.len() > MOST_TASKS {
        let mut tasks: Vec<_> = std::mem::take(&mut heard.tasks).into_iter().collect();
        tasks.sort_by_key(|(_, stages)| Reverse(stages.values().sum::<u32>()));
        heard.tasks = tasks.into_iter().take(MOST_TASKS).collect();
    }
}

/// A status with what this replica has heard.
pub(super) fn renewed(
    old: &PolicyStatus,
    me: &str,
    mine: Option<Heard>,
    generation: i64,
    now: i64,
) -> PolicyStatus {
    let mut all = old.heard.clone();
    let before = all.remove(me);
    // A replica that is no more does not take its words back.
    all.retain(|_, h| now - h.at <= 2 * SILENT);
    if let Some(mine) = mine {
        // The time alone is not worth a writing each second.
        let at = match &before {
            Some(b) if now - b.at < AGAIN && same(b, &mine, generation) => b.at,
            _ => now,
        };
        all.insert(me.to_owned(), Heard { generation, at, ..mine });
    }
    sums(all, generation)
}

fn same(before: &Heard, mine: &Heard, generation: i64) -> bool {
    *before == Heard { generation, at: before.at, ..mine.clone() }
}

fn sums(heard: BTreeMap<String, Heard>, generation: i64) -> PolicyStatus {
    let current = || heard.values().filter(|h| h.generation == generation);
    let mut tasks: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    for (task, stages) in current().flat_map(|h| &h.tasks) {
        for (stage, pods) in stages {
            *tasks.entry(task).or_default().entry(stage).or_default() += pods;
        }
    }
    let stages = tasks.iter().take(MOST_TASKS).map(|(task, stages)| {
        let counts: Vec<String> = stages.iter().map(|(stage, pods)| format!("{pods} {stage}")).collect();
        format!("{task}: {}", counts.join(", "))
    });
    let more = tasks.len().saturating_sub(MOST_TASKS);
    let more = (more > 0).then(|| format!("{more} more"));
    PolicyStatus {
        observed_generation: Some(generation),
        pods: current().map(|h| h.pods).sum(),
        applied: current().map(|h| h.applied).sum(),
        refused: current().map(|h| h.refused).sum(),
        stages: stages.chain(more).collect::<Vec<_>>().join("; "),
        reason: current().find_map(|h| h.reason.clone()),
        heard,
    }
}
