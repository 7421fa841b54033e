use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

use serde_json::json;
use tokio::sync::oneshot;
use understudy_policy::{Roster, RosterTask};

use super::*;
use crate::admin::Order;

const MOMENT: Duration = Duration::from_millis(1);

/// No test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

enum Act {
    Fail,
    Panic,
    /// Goes on, and is told to end.
    GoOn,
}

/// A life that has a task served, and then does what is next.
struct Acts {
    acts: VecDeque<Act>,
    outside: Arc<Outside>,
    roster: Arc<ArcSwap<Roster>>,
    end: watch::Sender<bool>,
    /// Tasks that serve and whether it is up, after each life that failed.
    left: Arc<Mutex<Vec<(usize, bool)>>>,
}

impl Life for Acts {
    async fn live(&mut self, _: &mut mpsc::Receiver<Ordered>) -> Result<(), String> {
        self.outside.publisher.publish(vec![task()]);
        self.outside.shown.rcu(|now| Snapshot { away: false, ..Snapshot::clone(now) });
        self.outside.up.begin();
        assert_eq!(self.roster.load().tasks.len(), 1);
        match self.acts.pop_front() {
            Some(Act::Fail) => return Err("the disk is full".to_owned()),
            Some(Act::Panic) => panic!("as whatever it calls may"),
            Some(Act::GoOn) | None => self.end.send_replace(true),
        };
        std::future::pending().await
    }

    fn clear(&mut self) {
        self.left.lock().unwrap().push((self.roster.load().tasks.len(), self.outside.up.is()));
    }
}

fn task() -> RosterTask {
    serde_json::from_value(json!({
        "task": format!("{:016x}", 1), "name": "route", "form": "00".repeat(16), "credential": null,
        "stage": "live", "share": 1.0, "audit": 0.05, "control": 0.05, "budget_ms": 500.0, "entries": [],
    }))
    .unwrap()
}

/// Whoever does this, with the end that it is told by.
fn acts(acts: impl IntoIterator<Item = Act>) -> (Acts, watch::Receiver<bool>) {
    let roster = Arc::new(ArcSwap::from_pointee(Roster::default()));
    let publisher = Arc::new(Publisher::new(Arc::clone(&roster), Arc::<AtomicBool>::default()));
    let outside = Arc::new(Outside::new(publisher, Arc::default(), Up::default()));
    let (end, ending) = watch::channel(false);
    let acts = acts.into_iter().collect();
    (Acts { acts, outside, roster, end, left: Arc::default() }, ending)
}

#[tokio::test]
async fn a_life_that_fails_or_panics_serves_nothing_any_more_and_another_follows() {
    let (life, ending) = acts([Act::Fail, Act::Panic, Act::Fail, Act::GoOn]);
    let (outside, roster, left) =
        (Arc::clone(&life.outside), Arc::clone(&life.roster), Arc::clone(&life.left));
    let (_orders, received) = mpsc::channel(1);
    let times = Times::new(MOMENT, MOMENT, MOMENT);
    tokio::time::timeout(PATIENCE, go_on(life, &outside, times, received, ending)).await.unwrap();
    assert_eq!(*left.lock().unwrap(), [(0, false); 3]);
    assert!(roster.load().tasks.is_empty() && !outside.up.is(), "told to end, it serves no more");
    let line = outside.shown.load().line.clone();
    assert!(line.contains("reading the journal again") && line.contains("disk is full"), "{line}");
}

#[tokio::test]
async fn an_order_is_refused_while_the_worker_is_away_and_who_is_told_to_end_does_not_begin_again() {
    let (life, ending) = acts([Act::Fail]);
    let (outside, left) = (Arc::clone(&life.outside), Arc::clone(&life.left));
    let end = life.end.clone();
    let (orders, received) = mpsc::channel(1);
    let orders_it = async {
        let (answered, answer) = oneshot::channel();
        let ordered =
            Ordered { which: "route".to_owned(), order: Order::Promote, by: "me".to_owned(), answered };
        orders.send(ordered).await.unwrap();
        let refused = answer.await.unwrap().unwrap_err();
        assert!(refused.contains("begins again"), "{refused}");
        let line = outside.shown.load().line.clone();
        assert!(line.starts_with("down: the disk is full; it begins again in 3600 s"), "{line}");
        assert!(outside.shown.load().away);
        end.send_replace(true);
    };
    let times = Times::new(60 * PATIENCE, 60 * PATIENCE, MOMENT);
    let both = async { tokio::join!(go_on(life, &outside, times, received, ending), orders_it) };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(left.lock().unwrap().len(), 1);
}

#[test]
fn pauses_grow_until_the_worker_was_at_work_for_a_while() {
    let mut times = Times::default();
    let pauses: Vec<u64> = (0..8).map(|_| times.pause(Duration::from_secs(5)).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(times.pause(Duration::from_secs(60)).as_secs(), 1);
    assert_eq!(times.pause(Duration::ZERO).as_secs(), 2);
}
