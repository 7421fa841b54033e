//! Calls that an understudy answers and the provider examines.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use understudy_call::Lane;

use crate::scene::*;
use crate::support::*;

#[tokio::test]
async fn an_audited_call_is_answered_here_and_examined_there() {
    let mut audited = task(BODY);
    audited.audit = 1.0;
    let s = stage(vec![audited], always(Ok(tool_answer()))).await.accepted().await;
    let got = s.ask(BODY).await;
    assert_eq!(got.header("x-understudy-answered-by"), Some("head-1"));
    let kept = s.world.kept.at_least(2).await;
    let audit = &kept[1];
    assert_eq!((audit.meta.lane, audit.meta.status), (Lane::Audit, 200));
    assert_eq!(audit.reply.concat(), b"{\"id\":\"chatcmpl-p\",\"choices\":[]}");
    assert_eq!(audit.understudy_reply.as_ref().unwrap().choices[0].tool_calls[0].name, "route");
    assert_eq!(audit.request.concat(), BODY.as_bytes());
    assert_eq!(audit.meta.asked.as_ref().unwrap().stratum.as_deref(), Some("route"));
    assert!(audit.meta.timings.audit.is_some() && audit.meta.timings.total.is_some());
    // One call, one name, for the record and for telemetry.
    assert_eq!(audit.id, s.seen.lock().unwrap()[1].id);
    let sent = s.provider.last();
    assert_eq!(
        (sent.target(), sent.header("authorization")),
        ("/v1/chat/completions", Some("Bearer sk-test"))
    );
    assert_eq!(sent.body, BODY.as_bytes());
    assert_eq!(s.provider.calls(), 2);
    assert_eq!(s.world.seams.counters.audits(), 1);
}

#[tokio::test]
async fn a_provider_in_trouble_does_not_examine() {
    let in_trouble = FakeProvider::start(Arc::new(|request, mut stream| {
        Box::pin(async move {
            let audit = request.body == BODY.as_bytes();
            let busy = "HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\n{}".as_bytes().to_vec();
            stream.write_all(&if audit { busy } else { json_reply(PROVIDERS) }).await.ok()?;
            Some(stream)
        })
    }))
    .await;
    let mut audited = task(BODY);
    audited.audit = 1.0;
    let s = stage_before(in_trouble, vec![audited], always(Ok(tool_answer()))).accepted().await;
    assert_eq!(s.ask(BODY).await.header("x-understudy-answered-by"), Some("head-1"));
    let kept = s.world.kept.at_least(2).await;
    assert_eq!((kept[1].meta.lane, kept[1].meta.status), (Lane::Understudy, 200));
    assert!(kept[1].reply.is_empty() && kept[1].understudy_reply.is_some());
    let counters = &s.world.seams.counters;
    assert_eq!((counters.audits(), counters.audits_dropped()), (0, 1));
}
