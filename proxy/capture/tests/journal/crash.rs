//! kill -9 while calls are written, round after round on one journal.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use understudy_capture::{Offered, Record};

use super::{call, files_under, noise, open};

const DIR: &str = "UNDERSTUDY_TEST_CRASH_DIR";
const CANARY: &str = "canary-that-no-file-may-hold";

/// Rounds of the short form; `make crash` asks for a thousand.
const ROUNDS: u64 = 50;

fn rounds() -> u64 {
    std::env::var("UNDERSTUDY_CRASH_ROUNDS").ok().map_or(ROUNDS, |n| n.parse().unwrap())
}

/// Not a test of its own: the process that is killed, started again from this very
/// binary. It offers calls of many sizes, and says after each group what is durable.
#[test]
fn the_process_that_is_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let j = open(Path::new(&dir));
    let mut out = std::io::stdout();
    for n in 0.. {
        let size = [40, 900, 7_000, 20_000, 150_000][(n % 5) as usize];
        let taken = j.offer(call(n, &format!("{CANARY} {}", noise(n, size))));
        if n % 3 == 2 || taken != Offered::Taken {
            let seq = j.append(vec![Record::Note { kind: "group".into(), json: n.into() }]).unwrap();
            writeln!(out, "durable {seq} {n}").unwrap();
            out.flush().unwrap();
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn after_kill_9_the_journal_opens_and_nothing_reported_durable_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut seen = 0;
    let mut written = 0;
    let rounds = rounds();
    for round in 0..rounds {
        let mut child = Killed(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
                .env(DIR, dir)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let out = BufReader::new(child.0.stdout.take().unwrap());
        let mut reported = Vec::new();
        for line in out.lines() {
            let line = line.unwrap();
            let mut words = line.split(' ');
            if words.next() == Some("durable") {
                let mut number = || words.next().unwrap().parse::<u64>().unwrap();
                reported.push((number(), number()));
            }
            // It goes on writing while it is killed, and what it still said is read too.
            if reported.len() as u64 == 1 + round * 7 % 11 {
                child.0.kill().unwrap();
            }
        }
        drop(child);
        let (promised, _) = *reported.last().expect("the child wrote something");

        let j = open(dir);
        assert!(j.durable_seq() >= promised, "round {round}: {} of {promised}", j.durable_seq());
        let mut cursor = j.cursor(seen + 1);
        let mut groups = Vec::new();
        while let Some((seq, record)) = cursor.next().unwrap() {
            seen = seq;
            written += 1;
            match record {
                Record::Note { json, .. } => groups.push((seq, json.as_u64().unwrap())),
                Record::Exchange(e) => {
                    let n = u128::from_be_bytes(e.id.0) as u64;
                    let said = e.reply.unwrap().choices[0].text();
                    assert!(said.ends_with(&noise(n, said.len() - CANARY.len() - 1)), "{n}");
                    assert!(e.request.unwrap().messages[0].text().starts_with(CANARY));
                }
                _ => {}
            }
        }
        let aside = || {
            files_under(&dir.join("aside"))
                .into_iter()
                .map(|f| (f.metadata().map_or(0, |m| m.len()), f))
                .collect::<Vec<_>>()
        };
        assert!(cursor.gaps().is_empty(), "round {round}: {:?}, aside {:?}", cursor.gaps(), aside());
        assert!(reported.iter().all(|g| groups.contains(g)), "round {round}: {reported:?} in {groups:?}");
        assert_eq!(seen, j.durable_seq());
        let stats = j.stats();
        assert_eq!((stats.set_aside, stats.lost), (0, 0), "round {round}");
        j.close();
    }
    assert!(written > rounds * 4);
    let mut volumes = 0;
    for file in files_under(dir) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes());
        assert!(!found, "plaintext in {}", file.display());
        assert!(!file.components().any(|c| c.as_os_str() == "blobs"), "a blob: {}", file.display());
        volumes += u32::from(file.ends_with("db"));
    }
    assert!(volumes > 1, "several volumes were written");
}

#[test]
fn a_volume_that_was_only_just_begun_when_the_kill_came_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let note = |n: u64| Record::Note { kind: "group".into(), json: n.into() };
    let mut last = 0;
    for (n, db) in (0..).zip([None, Some(""), Some("half of what sled begins a file with")]) {
        let j = open(dir);
        last = j.append(vec![note(n)]).unwrap();
        j.close();
        let begun = dir.join("volumes").join(format!("{:020}-0123abcd", last + 1));
        std::fs::create_dir(&begun).unwrap();
        if let Some(db) = db {
            std::fs::write(begun.join("db"), db).unwrap();
        }
    }
    let j = open(dir);
    assert_eq!(j.append(vec![note(3)]).unwrap(), last + 1, "numbers go on where they ended");
    let mut cursor = j.cursor(1);
    let notes =
        std::iter::from_fn(|| cursor.next().unwrap()).filter(|(_, r)| matches!(r, Record::Note { .. }));
    assert_eq!(notes.count(), 4);
    assert!(cursor.gaps().is_empty(), "{:?}", cursor.gaps());
    assert_eq!((j.stats().set_aside, j.stats().lost), (0, 0));
}
