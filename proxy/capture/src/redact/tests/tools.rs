//! Lists of tools that many calls share.

use understudy_call::{StandIns, Tool, Tools};

use super::*;

#[test]
fn tools_that_calls_share_are_redacted_once_and_noted_each_time() {
    let tools = |description: &str| -> Tools {
        vec![Tool {
            name: "send".into(),
            description: Some(description.into()),
            parameters: serde_json::json!({"type": "object", "default": "anna@firma.de"}),
            strict: None,
            extra: serde_json::Map::new(),
        }]
        .into()
    };
    let (r, shared) = (redactor(), tools("Mails anna@firma.de."));
    let asked = || Request { tools: shared.clone(), ..Request::default() };
    let mut alone = Request { tools: tools("Mails anna@firma.de."), ..Request::default() };
    assert!(r.request(&mut alone));
    let calls = [(); 3].map(|()| {
        let (mut request, mut noted) = (asked(), Noted::default());
        assert!(r.request_noting(&mut request, &mut noted));
        let mut answered = Noted::default();
        let _ = r.text_noting("I wrote to anna@firma.de.", &mut answered);
        assert_eq!(answered.in_reply_to(&noted), StandIns::Echoed);
        request
    });
    assert!(calls.iter().all(|call| call.tools == alone.tools));
    assert!(calls[1].tools.is_same(&calls[2].tools) && !calls[1].tools.is_same(&shared));
    assert!(!serde_json::to_string(&calls).unwrap().contains("anna"));
    assert!(shared[0].description.as_deref() == Some("Mails anna@firma.de."));

    let mut clean = Request::default();
    clean.tools =
        vec![Tool { parameters: serde_json::Value::Null, ..tools("Mails somebody.")[0].clone() }].into();
    let kept = clean.tools.clone();
    for _ in 0..2 {
        assert!(!r.request(&mut clean) && clean.tools.is_same(&kept));
    }
}
