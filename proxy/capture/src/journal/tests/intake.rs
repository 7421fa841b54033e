//! What becomes of a call on its way in.

use super::*;

#[test]
fn personal_data_and_secrets_are_replaced_before_writing_and_the_share_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let mut one = call(1, "mail bob@corp.com, key sk-proj-4f9aB27cD1e8F3a6b5C0d9E2", "sent to bob@corp.com");
    one.meta.headers = vec![
        ("authorization".into(), "Bearer sk-proj-4f9aB27cD1e8F3a6b5C0d9E2".into()),
        ("x-ratelimit-remaining-tokens".into(), "5".into()),
        ("OpenAI-RateLimit-Limit".into(), "9".into()),
        ("set-cookie".into(), "a=b".into()),
    ];
    let _ = j.offer(one);
    let _ = j.offer(call(2, "nothing here", "nothing"));
    j.append(vec![]).unwrap();
    let found = exchanges(&j);
    let said = serde_json::to_string(&found).unwrap();
    assert!(!said.contains("bob@corp.com") && !said.contains("4f9aB27c") && !said.contains("a=b"), "{said}");
    let names: Vec<_> = found[0].meta.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["x-ratelimit-remaining-tokens", "OpenAI-RateLimit-Limit"]);
    assert_eq!(j.stats().redacted_share(), Some(0.5));
}

#[test]
fn a_reply_that_failed_or_was_cut_off_examines_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(config(dir.path()), Hooks { audit: Arc::new(|_, _, _| 1.0), ..hooks() }).unwrap();
    let audited = |n: u128| {
        let mut c = call(n, "route it", "cards");
        c.meta.lane = Lane::Audit;
        c.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("head-1".into()));
        c.understudy_reply = Some(Reply { choices: vec![Choice::default()], ..Reply::default() });
        c
    };
    let mut failed = audited(2);
    failed.meta.status = 503;
    let mut cut_off = audited(3);
    let said = String::from_utf8(cut_off.reply.concat()).unwrap().replace("\"stop\"", "\"length\"");
    cut_off.reply = vec![Bytes::from(said)];
    let mut too_large = audited(4);
    too_large.meta.truncation = Truncation::TooLarge;
    for c in [audited(1), failed, cut_off, too_large] {
        let _ = j.offer(c);
    }
    j.append(vec![]).unwrap();
    let scores: Vec<_> = exchanges(&j).iter().map(|e| e.audit_score).collect();
    assert_eq!(scores, [Some(1.0), None, None, None]);
}

#[test]
fn form_and_score_are_taken_from_the_raw_pair() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let hooks = Hooks {
        fingerprint: Arc::new(|_, r, _, _| {
            assert!(r.messages[1].text().contains("bob@corp.com"));
            Belongs { form: FormHash([4; 16]), conversation: ConversationKey([5; 16]), opening: 6 }
        }),
        audit: Arc::new(move |_, a, b| {
            lock(&told).push((a.choices[0].text(), b.choices[0].text()));
            0.25
        }),
    };
    let j = open_with(config(dir.path()), hooks).unwrap();
    let mut c = call(1, "mail bob@corp.com", "bob@corp.com");
    c.meta.lane = Lane::Audit;
    c.meta.answered_by = AnsweredBy::Understudy(UnderstudyId("head-1".into()));
    c.understudy_reply = Some(Reply {
        choices: vec![Choice { content: vec![Part::Text("rob@corp.com".into())], ..Choice::default() }],
        ..Reply::default()
    });
    let _ = j.offer(c);
    j.append(vec![]).unwrap();
    let e = &exchanges(&j)[0];
    assert_eq!(e.audit_score, Some(0.25));
    assert_eq!((e.meta.form, e.meta.opening), (Some(FormHash([4; 16])), 6));
    assert_eq!(*lock(&seen), [("bob@corp.com".to_owned(), "rob@corp.com".to_owned())]);
    let texts =
        (e.reply.as_ref().unwrap().choices[0].text(), e.understudy_reply.as_ref().unwrap().choices[0].text());
    assert!(
        texts.0 != texts.1 && texts.0.ends_with(".example") && texts.1.ends_with(".example"),
        "{texts:?}"
    );
}

#[test]
fn a_hook_that_panics_costs_what_it_would_have_said() {
    let dir = tempfile::tempdir().unwrap();
    let quiet =
        Hooks { fingerprint: Arc::new(|_, _, _, _| std::panic::resume_unwind(Box::new(()))), ..hooks() };
    let j = open_with(config(dir.path()), quiet).unwrap();
    let _ = j.offer(call(1, "a", "b"));
    j.append(vec![]).unwrap();
    assert_eq!(exchanges(&j)[0].meta.form, None);
    assert_eq!(j.stats().hook_panics, 1);
}

#[test]
fn undecoded_unparsed_and_large_bodies_leave_metadata_only() {
    let dir = tempfile::tempdir().unwrap();
    let j = open_with(JournalConfig { body_limit: 2000, ..config(dir.path()) }, hooks()).unwrap();
    let mut other = call(1, "canary", "b");
    other.meta.dialect = Dialect::AnthropicMessages;
    let mut broken = call(2, "a", "b");
    broken.request = vec![Bytes::from_static(b"{\"model\": canary")];
    let large = call(3, &"canary".repeat(500), "b");
    for c in [other, broken, large] {
        assert_eq!(j.offer(c), Offered::Taken);
    }
    j.append(vec![]).unwrap();
    let found = exchanges(&j);
    assert!(found.iter().all(|e| e.request.is_none() && e.reply.is_none()));
    assert!(!serde_json::to_string(&found).unwrap().contains("canary"));
    assert_eq!(found[2].meta.truncation, Truncation::TooLarge);
    assert_eq!((j.stats().unparsed, j.stats().exchanges), (1, 3));
}

#[test]
fn exchanges_from_logs_are_fingerprinted_redacted_and_sealed_alike() {
    let dir = tempfile::tempdir().unwrap();
    let j = open(dir.path());
    let _ = j.offer(call(1, "mail bob@corp.com", "done"));
    j.append(vec![]).unwrap();
    let offered = exchanges(&j).remove(0);
    let raw = Exchange {
        request: Some(Request {
            messages: vec![
                offered.request.as_ref().unwrap().messages[0].clone(),
                Message::text_of(Role::User, "mail bob@corp.com"),
            ],
            ..offered.request.clone().unwrap()
        }),
        meta: meta(Dialect::OpenaiChat),
        ..offered.clone()
    };
    j.append_exchanges(vec![raw]).unwrap();
    assert_eq!(exchanges(&j)[1], offered);
}
