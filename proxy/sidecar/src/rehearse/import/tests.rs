use understudy_call::{Credential, Reply, Request};

use super::*;

/// Calls that ask these models.
fn log(models: &[&str]) -> Log {
    let call = |model: &&str| LoggedCall {
        request: Request { model: (*model).to_owned(), ..Request::default() },
        reply: Reply::default(),
        at_ms: None,
        took: None,
        conversation: None,
        status: 200,
        id: None,
        marks: std::collections::BTreeMap::new(),
    };
    Log { calls: models.iter().map(call).collect(), ..Log::default() }
}

fn caller(provider: &str, credential: u8) -> Caller {
    Caller { provider: provider.to_owned(), credential: Credential([credential; 16]) }
}

#[test]
fn a_log_may_grow_and_another_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let openai = caller("openai", 1);
    let begins = |models: &[&str], caller: &Caller| begins_the_same(dir.path(), &log(models), caller);
    let check = |models: &[&str], caller: &Caller| begins(models, caller)?.keep(dir.path());
    // What did not come to begin binds nobody.
    begins(&["x"], &caller("another", 1)).unwrap();
    check(&["a", "b"], &openai).unwrap();
    check(&["a", "b"], &openai).unwrap();
    check(&["a", "b", "c"], &openai).unwrap();
    let others: [(&[&str], Caller); 5] = [
        (&["a", "x", "c"], caller("openai", 1)),
        (&["x", "a", "b", "c"], caller("openai", 1)),
        (&["a", "b"], caller("openai", 1)),
        (&["a", "b", "c"], caller("another", 1)),
        (&["a", "b", "c"], caller("openai", 2)),
    ];
    for (models, caller) in &others {
        let said = check(models, caller).unwrap_err().to_string();
        assert!(said.contains("--fresh"), "{models:?}: {said}");
    }
    // A refusal changes nothing.
    check(&["a", "b", "c", "d"], &openai).unwrap();
}
