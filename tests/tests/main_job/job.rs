//! The proxy under test with its agent and its provider, and what is asked of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use understudy_tests::desk;
use understudy_tests::peer::{Agent, Answer, Peer};
use understudy_tests::process::wait_until;
use understudy_tests::proxy::{Home, PATIENCE, Proxy};

pub(crate) const LONG: Duration = Duration::from_secs(600);

/// The key that the agent calls with.
pub(crate) const KEY: &str = "sk-stand-in-4f6b1d0c2a";

/// The proxy, its agent and its provider.
pub(crate) struct Job {
    pub(crate) home: Home,
    pub(crate) proxy: Proxy,
    pub(crate) provider: Peer,
    pub(crate) agent: Agent,
    /// Tickets that were sent; each is sent once.
    pub(crate) sent: AtomicUsize,
    /// The triage task's id.
    pub(crate) task: String,
}

/// A call that came to its end.
pub(crate) struct Seen {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) answer: Result<Answer, String>,
}

impl Seen {
    pub(crate) fn served(&self) -> bool {
        self.answer.as_ref().is_ok_and(|a| a.by().is_some())
    }
}

impl Job {
    pub(crate) fn new(home: Home, proxy: Proxy, provider: Peer) -> Self {
        let agent = Agent::new(&proxy.url(), KEY);
        Self { home, proxy, provider, agent, sent: AtomicUsize::new(0), task: String::new() }
    }

    pub(crate) fn ticket(&self) -> Value {
        desk::triage(self.sent.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn tickets(&self, n: usize) -> Vec<Value> {
        (0..n).map(|_| self.ticket()).collect()
    }

    /// Sends tickets, four at once; none may fail.
    pub(crate) fn send(&self, requests: Vec<Value>) -> Vec<Answer> {
        let answers = self.agent.ask_all(requests, 4);
        answers
            .into_iter()
            .map(|a| a.expect("the call failed"))
            .inspect(|a| assert_eq!(a.status, 200, "{a:?}"))
            .collect()
    }

    /// The triage task's line, once the worker has read every call so far.
    pub(crate) fn row(&self) -> Value {
        let sent = self.sent.load(Ordering::Relaxed) as u64;
        let mut found = Value::Null;
        wait_until("the worker has read every call", LONG, || {
            let rows = self.home.json(["tasks"]);
            let triage =
                rows.as_array().unwrap().iter().filter(|r| r["name"].as_str().unwrap().contains("triage"));
            let Some(row) = triage.max_by_key(|r| r["calls"].as_u64()) else { return false };
            found = row.clone();
            row["calls"].as_u64().unwrap() >= sent
        });
        found
    }

    pub(crate) fn decisions(&self) -> Vec<Value> {
        let all = self.home.json(["decisions", "--last", "1000"]);
        all.as_array().unwrap().iter().filter(|d| d["task"] == self.task.as_str()).cloned().collect()
    }

    /// Sends what `make` makes until an understudy answers; that answer.
    pub(crate) fn served(&self, make: impl Fn(Value) -> Value) -> Answer {
        let mut found = None;
        wait_until("an understudy answers", PATIENCE, || {
            let answer = self.send(vec![make(self.ticket())]).remove(0);
            found = Some(answer).filter(|a| a.by().is_some());
            found.is_some()
        });
        found.unwrap()
    }

    /// Four agents ask one ticket after the other while `work` is done with
    /// what has come so far; everything that came, in the order of its end.
    pub(crate) fn under_load(&self, work: impl FnOnce(&Mutex<Vec<Seen>>)) -> Vec<Seen> {
        let (seen, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        // The load ends with the work, however that ends.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        std::thread::scope(|scope| {
            let _over = Over(&over);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let answer = self.agent.post("/chat/completions", self.ticket().to_string());
                        let answer = answer.map_err(|e| format!("{e:?}"));
                        seen.lock().unwrap().push(Seen { began, ended: Instant::now(), answer });
                    }
                });
            }
            work(&seen);
        });
        seen.into_inner().unwrap()
    }
}

/// Waits until so many more calls have come, or so many more from understudies.
pub(crate) fn wait_for_more(seen: &Mutex<Vec<Seen>>, what: &str, n: usize, wanted: impl Fn(&Seen) -> bool) {
    let count = || seen.lock().unwrap().iter().filter(|s| wanted(s)).count();
    let before = count();
    wait_until(what, LONG, || count() >= before + n);
}
