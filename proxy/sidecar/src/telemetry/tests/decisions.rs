use super::super::spans::DecisionSeen;
use super::*;

#[test]
fn a_decision_is_a_trace_of_its_own_and_one_that_takes_a_task_back_is_kept_whatever_the_share() {
    let call = ids::context_of(ExchangeId([9; 16]), Some(AGENT));
    let decision = |from, to, demotes, call: &SpanContext| {
        Told::Decision(Box::new(DecisionSeen {
            call: call.clone(),
            task: "00c0ffee00c0ffee".into(),
            understudy: Some("head-0123".into()),
            from,
            to,
            demotes,
            why: if demotes { "audits_disagree" } else { "step_earned" },
            numbers: [("agreement".to_owned(), 0.9)].into(),
        }))
    };
    let both = || {
        vec![
            decision("canary", "live", false, &call),
            decision("live", "shadowing", true, &SpanContext::NONE),
        ]
    };
    let (all, _) = emit_a_share(1.0, both());
    assert_eq!(all.iter().map(|s| s.name.as_ref()).collect::<Vec<_>>(), ["decide", "decide"]);
    let link = &all[0].links.links[0].span_context;
    assert_eq!((link.trace_id(), link.span_id()), (call.trace_id(), call.span_id()));
    assert_ne!(all[0].span_context.trace_id(), call.trace_id());
    assert!(all[1].links.links.is_empty(), "a person's order is about no call");
    for (name, value) in [
        ("understudy.task", "00c0ffee00c0ffee"),
        ("understudy.stage.before", "live"),
        ("understudy.stage", "shadowing"),
        ("understudy.reason", "audits_disagree"),
        ("understudy.understudy", "head-0123"),
        ("understudy.decision.agreement", "0.9"),
    ] {
        assert_eq!(attribute(&all[1], name).as_deref(), Some(value), "{name}");
    }
    let (kept, _) = emit_a_share(0.0, both());
    assert_eq!(kept.len(), 1);
    assert_eq!(attribute(&kept[0], "understudy.demoted").as_deref(), Some("true"));
}
