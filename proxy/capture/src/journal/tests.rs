use std::path::Path;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use serde_json::json;
use understudy_call::*;

use super::*;
use crate::{FileKey, GapWhy};

mod failures;
mod intake;
mod keys;
mod packs;
mod queue;
mod stand_ins;

fn hooks() -> Hooks {
    Hooks {
        fingerprint: Arc::new(|_, r, _, _| {
            let h = blake3::hash(r.messages.first().map(Message::text).unwrap_or_default().as_bytes());
            Belongs {
                form: FormHash(h.as_bytes()[..16].try_into().unwrap()),
                conversation: ConversationKey([1; 16]),
                opening: 0,
            }
        }),
        audit: Arc::new(|_, reference, answer| f64::from(u8::from(reference.choices == answer.choices))),
    }
}

fn config(dir: &Path) -> JournalConfig {
    JournalConfig { dir: dir.join("journal"), free_floor_bytes: 0, nice: 0, ..JournalConfig::default() }
}

fn open_with(config: JournalConfig, hooks: Hooks) -> Result<Journal, JournalError> {
    Journal::open(config, Arc::new(FileKey::from_bytes(&[8; 32]).unwrap()), hooks)
}

fn open(dir: &Path) -> Journal {
    open_with(config(dir), hooks()).unwrap()
}

fn meta(dialect: Dialect) -> Metadata {
    Metadata::answered("openai", dialect, Credential([7; 16]))
}

fn call(n: u128, user: &str, said: &str) -> Captured {
    let request = json!({"model": "gpt-4o", "messages": [{"role": "system", "content": "You route."}, {"role": "user", "content": user}]});
    let reply = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]});
    let (a, b) = request.to_string().into_bytes().split_at(20).clone_parts();
    Captured {
        id: ExchangeId(n.to_be_bytes()),
        meta: meta(Dialect::OpenaiChat),
        request: vec![a, b],
        reply: vec![Bytes::from(reply.to_string())],
        reply_content_type: "application/json".into(),
        reply_encoding: String::new(),
        understudy_reply: None,
    }
}

trait CloneParts {
    fn clone_parts(self) -> (Bytes, Bytes);
}
impl CloneParts for (&[u8], &[u8]) {
    fn clone_parts(self) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(self.0), Bytes::copy_from_slice(self.1))
    }
}

fn note(n: u64) -> Record {
    Record::Note { kind: "test".into(), json: json!({ "n": n, "third": 1.0 / 3.0 }) }
}

fn all(j: &Journal, from: u64) -> (Vec<(u64, Record)>, Vec<crate::Gap>) {
    let mut c = j.cursor(from);
    let mut out = Vec::new();
    while let Some(r) = c.next().unwrap() {
        out.push(r);
    }
    (out, c.gaps().to_vec())
}

fn exchanges(j: &Journal) -> Vec<Exchange> {
    all(j, 1)
        .0
        .into_iter()
        .filter_map(|(_, r)| if let Record::Exchange(e) = r { Some(e) } else { None })
        .collect()
}

#[test]
fn what_is_offered_is_read_back_in_order_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    for n in 0..50 {
        assert_eq!(j.offer(call(n, &format!("call {n}"), "fine")), Offered::Taken);
    }
    let last = j.append(vec![]).unwrap();
    let (records, gaps) = all(&j, 1);
    assert_eq!((records.len() as u64, last), (51, 51));
    assert!(gaps.is_empty());
    assert!(records.iter().zip(1..).all(|((seq, _), n)| *seq == n));
    assert!(matches!(records[0].1, Record::Checkpoint(_)));
    let Record::Exchange(e) = &records[50].1 else { panic!() };
    assert_eq!(e.request.as_ref().unwrap().messages[1].text(), "call 49");
    assert_eq!(e.reply.as_ref().unwrap().choices[0].text(), "fine");
    assert!(e.meta.form.is_some() && e.meta.conversation.is_some());
    assert!(j.wait_beyond(50, Duration::ZERO) && !j.wait_beyond(51, Duration::ZERO));
    assert_eq!(j.stats().queued_bytes, 0);
}

#[test]
fn what_was_appended_is_there_after_opening_again_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    assert_eq!(j.append(vec![note(1), note(2)]).unwrap(), 3);
    j.close();
    assert!(matches!(j.append(vec![]), Err(JournalError::Closed)));
    assert_eq!(j.offer(call(1, "a", "b")), Offered::Dropped(DropReason::Closed));
    let j = open(dir.path());
    assert_eq!(j.durable_seq(), 3);
    assert_eq!(j.append(vec![note(3)]).unwrap(), 4);
    let (records, gaps) = all(&j, 2);
    assert_eq!(records, vec![(2, note(1)), (3, note(2)), (4, note(3))]);
    assert!(gaps.is_empty());
}

#[test]
fn a_second_owner_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let said = open_with(config(dir.path()), hooks()).unwrap_err().to_string();
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    drop(j);
    open(dir.path());
}

#[test]
fn volumes_roll_over_begin_with_a_checkpoint_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig { volume_bytes: 600 << 10, keep_bytes: 4 << 20, ..config(dir.path()) };
    let j = open_with(small, hooks()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    j.set_checkpoint(Arc::new(move || json!({ "asked": count.fetch_add(1, Relaxed) + 1 })));
    let noise = |n: u64| {
        let mut b = vec![0; 60_000];
        blake3::Hasher::new().update(&n.to_be_bytes()).finalize_xof().fill(&mut b);
        hex::encode(b)
    };
    for n in 0..120 {
        j.append(vec![Record::Note { kind: "noise".into(), json: noise(n).into() }]).unwrap();
    }
    let stats = j.stats();
    assert!(stats.retired > 0 && stats.volumes > 1, "{stats:?}");
    assert!(stats.bytes < 6 << 20, "{stats:?}");
    assert_eq!(stats.lost, 0);
    let (records, gaps) = all(&j, 1);
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].from, gaps[0].why), (1, GapWhy::Retired));
    assert_eq!(records[0].0, j.oldest_seq().unwrap());
    assert!(matches!(&records[0].1, Record::Checkpoint(v) if v["asked"].as_u64() > Some(0)));
    assert_eq!(records.len() as u64, j.durable_seq() - gaps[0].to);
    let (at, state) = j.last_checkpoint().unwrap().unwrap();
    assert_eq!(state["asked"], asked.load(Relaxed));
    assert!(at > records[0].0);
    // As many key files as volumes.
    let names = |n: &str| std::fs::read_dir(dir.path().join("journal").join(n)).unwrap().count();
    assert_eq!(names("keys"), names("volumes"));
}

/// Volumes with a checkpoint and a note each; returns where each begins.
fn small_volumes(dir: &Path) -> Vec<u64> {
    let mut firsts = Vec::new();
    for v in 0..3 {
        // A volume is full at once.
        let j = open_with(JournalConfig { volume_bytes: 0, ..config(dir) }, hooks()).unwrap();
        j.append((0..3).map(|n| note(v * 10 + n)).collect()).unwrap();
        firsts = j.handle.shared.shelf.firsts();
        j.close();
    }
    firsts.reverse();
    firsts
}

fn volume_dir(dir: &Path, first: u64) -> std::path::PathBuf {
    let volumes = dir.join("journal/volumes");
    let name = std::fs::read_dir(&volumes).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    volumes.join(name.into_iter().find(|n| n.starts_with(&format!("{first:020}"))).unwrap())
}

#[test]
fn a_volume_that_does_not_open_is_moved_aside_and_the_gap_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let firsts = small_volumes(dir.path());
    let (middle, after) = (firsts[1], firsts[2]);
    std::fs::remove_file(volume_dir(dir.path(), middle).join("db")).unwrap();
    let j = open(dir.path());
    let (records, gaps) = all(&j, 1);
    assert_eq!(gaps, vec![crate::Gap { from: middle, to: after - 1, why: GapWhy::SetAside }]);
    assert_eq!(records.len() as u64, j.durable_seq() - (after - middle));
    assert_eq!((j.stats().set_aside, j.stats().lost), (1, after - middle));
    // A second cursor finds the same loss.
    assert_eq!(all(&j, 1).1, gaps);
    assert_eq!(j.stats().lost, after - middle);
}

#[test]
fn when_the_newest_volume_does_not_open_a_new_one_begins_after_what_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    let firsts = small_volumes(dir.path());
    let newest = *firsts.last().unwrap();
    std::fs::remove_file(volume_dir(dir.path(), newest).join("db")).unwrap();
    let j = open(dir.path());
    let promised = j.durable_seq();
    assert!(promised >= newest);
    let last = j.append(vec![note(99)]).unwrap();
    assert_eq!(last, promised + 2, "a checkpoint, then the note");
    let (records, gaps) = all(&j, newest);
    assert_eq!(gaps, vec![crate::Gap { from: newest, to: promised, why: GapWhy::SetAside }]);
    assert_eq!(records.last().unwrap(), &(last, note(99)));
    assert!(matches!(records[0].1, Record::Checkpoint(_)));
}

#[test]
fn a_cut_off_end_is_seen_by_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    j.append(vec![note(1)]).unwrap();
    j.close();
    let short = dir.path().join("short");
    let newest = volume_dir(dir.path(), 1);
    std::fs::create_dir(&short).unwrap();
    std::fs::copy(newest.join("db"), short.join("db")).unwrap();
    let j = open(dir.path());
    let last = j.append(vec![note(2), note(3)]).unwrap();
    j.close();
    std::fs::copy(short.join("db"), newest.join("db")).unwrap();
    for e in std::fs::read_dir(&newest).unwrap().map(Result::unwrap) {
        if e.file_name().to_string_lossy().starts_with("snap") {
            std::fs::remove_file(e.path()).unwrap();
        }
    }
    let j = open(dir.path());
    assert_eq!(j.durable_seq(), last);
    j.append(vec![note(4)]).unwrap();
    let (records, gaps) = all(&j, 1);
    let (lost, seen) = (gaps.iter().map(|g| g.to - g.from + 1).sum::<u64>(), records.len() as u64);
    assert_eq!(lost + seen, j.durable_seq());
    assert!(lost >= 2 && j.stats().lost == lost, "{gaps:?}");
}

#[test]
fn a_full_disk_drops_by_name_and_capture_resumes_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let hour = JournalConfig { retry_after: Duration::from_secs(3600), ..config(dir.path()) };
    let j = open_with(hour, hooks()).unwrap();
    assert_eq!(j.append(vec![note(1)]).unwrap(), 2);
    for round in 0..5 {
        j.handle.shared.free_floor.store(u64::MAX, Relaxed);
        assert!(matches!(j.append(vec![note(0)]), Err(JournalError::DiskFull { .. })));
        assert_eq!(j.offer(call(1, "a", "b")), Offered::Dropped(DropReason::DiskFull));
        j.handle.shared.free_floor.store(0, Relaxed);
        assert_eq!(j.append(vec![note(round)]).unwrap(), 3 + 2 * round);
        assert_eq!(j.offer(call(2, "a", "b")), Offered::Taken);
        j.append(vec![]).unwrap();
    }
    assert!(j.drops().contains(&(DropReason::DiskFull, 5)), "{:?}", j.drops());
    let (records, gaps) = all(&j, 1);
    assert_eq!((records.len(), gaps.len()), (12, 0));
    assert_eq!((j.stats().set_aside, j.stats().lost), (0, 0));
}

#[test]
fn a_destroyed_key_file_is_a_loss_that_is_told_and_nothing_decrypts() {
    let dir = tempfile::tempdir().unwrap();
    let firsts = small_volumes(dir.path());
    let name = volume_dir(dir.path(), firsts[0]);
    std::fs::remove_file(dir.path().join("journal/keys").join(name.file_name().unwrap())).unwrap();
    let j = open(dir.path());
    let (_, gaps) = all(&j, 1);
    assert_eq!(gaps, vec![crate::Gap { from: 1, to: firsts[1] - 1, why: GapWhy::KeyGone }]);
}

#[test]
fn floats_come_back_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let values: Vec<f64> =
        (1..500).map(|n| (f64::from(n) * 0.1).sin() / 3.0).chain([f64::MIN_POSITIVE, 1e300]).collect();
    let of = |n: &f64| Record::Note { kind: "f".into(), json: json!({ "v": n }) };
    j.append(values.iter().map(of).collect()).unwrap();
    let (records, _) = all(&j, 2);
    assert!(records.iter().zip(&values).all(|((_, r), v)| *r == of(v)));
}

#[test]
fn a_journal_is_seen_to_have_an_owner_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("journal");
    assert!(!is_owned(&folder));
    let j = open(dir.path());
    assert!(is_owned(&folder));
    j.close();
    assert!(!is_owned(&folder));
}
