//! A person's orders to the worker.

use std::path::Path;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use understudy_policy::{Action, Stage};
use understudy_rehearsal::{Rehearsal, RehearsalError};

use super::show;
use crate::admin::Order;
use crate::serve::snapshot::Snapshot;
use crate::specialise::known;
use crate::telemetry::own;

/// An order, and who waits for the answer: a task's name, or why not.
pub(super) struct Ordered {
    pub(super) which: String,
    pub(super) order: Order,
    pub(super) by: String,
    pub(super) answered: oneshot::Sender<Result<String, String>>,
}

/// A person's way to the worker. It blocks until the order is durable.
#[derive(Clone)]
pub(crate) struct Orders(pub(super) mpsc::Sender<Ordered>);

impl Orders {
    /// Gives an order; says the task's name afterwards.
    pub(crate) fn give(&self, which: &str, order: Order, by: &str) -> Result<String, String> {
        let (answered, answer) = oneshot::channel();
        let ordered = Ordered { which: which.to_owned(), order, by: by.to_owned(), answered };
        self.0.blocking_send(ordered).map_err(|_| "the worker is down; see the log".to_owned())?;
        answer.blocking_recv().unwrap_or_else(|_| Err("the worker ended before it was done".to_owned()))
    }
}

/// Answers that nobody is there to obey, for as long as it is waited for.
pub(super) async fn refuse_all(orders: &mut mpsc::Receiver<Ordered>) {
    while let Some(ordered) = orders.recv().await {
        let why = "the worker is down, and begins again by itself: `understudy tasks` says why and when";
        let _ = ordered.answered.send(Err(why.to_owned()));
    }
    std::future::pending().await
}

/// Obeys and answers. It is shown first: who is told that it is done finds it done.
///
/// # Errors
/// The journal failed: what the order did is not durable, and this worker is not to go
/// on from there. Whatever else is wrong with an order is the person's alone.
pub(super) async fn answer(
    rehearsal: &mut Rehearsal,
    adopts: (&Path, bool),
    ordered: Ordered,
    (shown, line): (&ArcSwap<Snapshot>, &str),
) -> Result<(), RehearsalError> {
    let Ordered { which, order, by, answered } = ordered;
    let done = obey(rehearsal, adopts, &which, order, &by).await;
    let said = done.as_ref().cloned().map_err(ToString::to_string);
    if let Err(failed @ (RehearsalError::Journal(_) | RehearsalError::CutOff)) = done {
        let _ = answered.send(said);
        return Err(failed);
    }
    show(rehearsal, shown, line);
    let _ = answered.send(said);
    Ok(())
}

async fn obey(
    rehearsal: &mut Rehearsal,
    (adapters, frozen): (&Path, bool),
    which: &str,
    order: Order,
    by: &str,
) -> Result<String, RehearsalError> {
    own::within(own::obey_order(order.label()), async {
        let action = match order {
            Order::Name(name) => {
                rehearsal.rename(which, &name).await?;
                return Ok(name);
            }
            Order::Adopt(_) if frozen => {
                let why = "worker.frozen is true: nothing is learnt, so no adapter is taken in";
                return Err(RehearsalError::NoLesson(why.to_owned()));
            }
            Order::Adopt(adapter) => {
                known(adapters, &adapter).map_err(|e| RehearsalError::NoLesson(e.to_string()))?;
                rehearsal.order_adoption(which, &adapter, by).await?;
                return Ok(rehearsal.book().find(which).map(|t| t.name.clone()).unwrap_or_default());
            }
            Order::Approve => Action::Approve,
            Order::Promote => Action::Promote,
            Order::Demote => Action::Demote,
            Order::Pin(on) => Action::Pin(on),
        };
        let nowhere = leads_nowhere(rehearsal, which, &action);
        if rehearsal.operate(which, action, by).await?.is_empty() {
            return Err(RehearsalError::Unmoved(nowhere));
        }
        Ok(rehearsal.book().find(which).map(|t| t.name.clone()).unwrap_or_default())
    })
    .await
}

/// Why nothing comes of an action, should nothing come of it.
fn leads_nowhere(rehearsal: &Rehearsal, which: &str, action: &Action) -> &'static str {
    let ledger = rehearsal.book().find(which).and_then(|t| rehearsal.ledger(t.id));
    match action {
        Action::Promote if ledger.is_some_and(|l| l.stage() == Stage::Live) => {
            "it is live, which is as far as it goes"
        }
        Action::Promote => {
            "no understudy of it has an open entry, so nobody could answer; 'understudy task show' says what each of them lacks"
        }
        _ => "it is not served, so there is nothing to take back",
    }
}
