//! What waits, and what it weighs.

use super::*;

#[test]
fn a_full_queue_drops_by_name_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(JournalConfig { queue_bytes: 3000, ..config(dir.path()) }, hooks()).unwrap();
    assert_eq!(j.offer(call(1, &"x".repeat(3000), "y")), Offered::Dropped(DropReason::QueueFull));
    assert_eq!(j.offer(call(2, "x", "y")), Offered::Taken);
    j.append(vec![]).unwrap();
    assert_eq!(exchanges(&j).len(), 1);
    assert!(j.drops().contains(&(DropReason::QueueFull, 1)));
    assert_eq!(j.stats().dropped, 1);
}

#[test]
fn a_call_weighs_its_headers_and_the_understudys_reply_too() {
    let plain = call(1, "x", "y");
    let mut heavy = plain.clone();
    heavy.meta.headers = vec![("x-ratelimit-reset-tokens".into(), "9".repeat(2_000))];
    assert!(heavy.weight() >= plain.weight() + 2_000);
    let arguments = format!("{{\"text\": \"{}\"}}", "z".repeat(5_000));
    let calls = vec![ToolCall { id: "c".into(), name: "say".into(), arguments }];
    let said = vec![Part::Text("w".repeat(3_000))];
    let choice = Choice { content: said, tool_calls: calls, ..Choice::default() };
    let audited = Captured {
        understudy_reply: Some(Reply { choices: vec![choice], ..Reply::default() }),
        ..heavy.clone()
    };
    assert!(audited.weight() >= heavy.weight() + 8_000);
}
