//! Lists of tools that many calls share.

use std::sync::Arc;

use understudy_call::{Format, Schema, StandIns, Tool, Tools};

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

    let plain = Tool { parameters: serde_json::Value::Null, ..tools("Mails somebody.")[0].clone() };
    let mut clean = Request { tools: vec![plain].into(), ..Request::default() };
    let kept = clean.tools.clone();
    for _ in 0..2 {
        assert!(!r.request(&mut clean) && clean.tools.is_same(&kept));
    }
}

/// Finds whatever it is told to, from when it is told.
struct Told(Arc<Mutex<&'static str>>);

impl Detector for Told {
    fn kind(&self) -> &'static str {
        "told"
    }
    fn find(&self, text: &str, out: &mut Vec<Range<usize>>) {
        let word = *self.0.lock().unwrap();
        out.extend(text.match_indices(word).filter(|(_, w)| !w.is_empty()).map(|(at, w)| at..at + w.len()));
    }
    fn stand_in(&self, value: &str, _: &mut Draw) -> String {
        "x".repeat(value.len())
    }
}

#[test]
fn a_detector_of_ones_own_is_asked_each_time() {
    let told = Arc::new(Mutex::new("Anna"));
    let r = Redactor::with([5; 32], vec![Box::new(Told(Arc::clone(&told)))]);
    let tool = |description: &str| Tool {
        name: "send".into(),
        description: Some(description.into()),
        parameters: serde_json::Value::Null,
        strict: None,
        extra: serde_json::Map::new(),
    };
    let shared: Tools = vec![tool("Mails Anna."), tool("Mails Bea.")].into();
    let asked = || {
        let mut request = Request { tools: shared.clone(), ..Request::default() };
        r.request(&mut request);
        request.tools.iter().map(|t| t.description.clone().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(asked(), ["Mails xxxx.", "Mails Bea."]);
    *told.lock().unwrap() = "Bea";
    assert_eq!(asked(), ["Mails Anna.", "Mails xxx."]);
}

#[test]
fn more_lists_than_are_remembered_are_each_redacted_as_the_first_time() {
    let r = Redactor::new([5; 32]);
    let lists: Vec<Tools> = (0..20)
        .map(|n| {
            let description = Some(format!("Mails anna{n}@firma.de."));
            let parameters = serde_json::json!({"maximum": n});
            let extra = serde_json::Map::new();
            [Tool { name: "send".into(), description, parameters, strict: None, extra }].into_iter().collect()
        })
        .collect();
    let redacted = |list: &Tools| {
        let mut request = Request { tools: list.clone(), ..Request::default() };
        assert!(r.request(&mut request));
        request.tools
    };
    let first: Vec<Tools> = lists.iter().map(redacted).collect();
    assert_eq!(lists.iter().map(redacted).collect::<Vec<_>>(), first);
    assert_eq!(r.tools.lock().unwrap().len(), 8);
    assert!(!serde_json::to_string(&first).unwrap().contains("firma"));
}

#[test]
fn a_schema_that_calls_share_is_redacted_once_for_all() {
    let r = Redactor::new([5; 32]);
    let said = |text: &str| -> Schema { serde_json::json!({ "description": text }).into() };
    let redacted = |schema: &Schema| {
        let format = Format::JsonSchema { name: "n".into(), schema: schema.clone(), strict: None };
        let mut request = Request { format, ..Request::default() };
        let changed = r.request(&mut request);
        let Format::JsonSchema { schema, .. } = request.format else { panic!() };
        (changed, schema)
    };
    let (mails, clean) = (said("Mails anna@firma.de."), said("Mails somebody."));
    let (first, again) = (redacted(&mails), redacted(&mails));
    assert!(first.0 && again.0 && first.1.is_same(&again.1) && !first.1.is_same(&mails));
    assert!(!first.1.to_string().contains("firma"));
    let kept = redacted(&clean);
    assert!(!kept.0 && kept.1.is_same(&clean) && redacted(&clean).1.is_same(&clean));
    assert_eq!(r.schemas.lock().unwrap().len(), 2);
}
