use std::sync::atomic::Ordering;

use super::addresses::Look;
use super::*;

/// Nobody is there (RFC 5737).
const GONE: &str = "192.0.2.1:9";

fn upstream(base_url: &str) -> Arc<Upstream> {
    let provider = Provider { base_url: base_url.to_owned(), ..Provider::openai() };
    Arc::new(Upstream::new(&provider, &Limits::default()).unwrap())
}

/// One that was at an address where nobody is any more, as was found just now.
fn moved() -> (Arc<Upstream>, Instant) {
    let (upstream, now) = (upstream("http://localhost:9/v1"), Instant::now());
    let found = Found { addresses: vec![GONE.parse().unwrap()], when: now, tried: now };
    upstream.found.store(Arc::new(found));
    (upstream, now)
}

fn after(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn a_connection_that_is_silent_while_a_model_thinks_is_kept_alive() {
    let upstream = upstream("http://127.0.0.1:9/v1");
    for h1 in [false, true] {
        let peer = upstream.peer(h1).await.unwrap();
        let probed = peer.options.tcp_keepalive.as_ref().unwrap();
        // Azure's load balancers forget after four minutes, AWS's NAT after 350 s.
        assert!(probed.idle < Duration::from_secs(240) && probed.count > 1, "{probed}");
    }
}

#[tokio::test]
async fn a_connection_whose_other_end_is_gone_is_found_in_little_more_than_a_minute() {
    let peer = upstream("http://127.0.0.1:9/v1").peer(false).await.unwrap();
    // Five seconds for the answer are too few for a slow uplink.
    assert_eq!(peer.options.h2_ping_interval, None);
    #[cfg(target_os = "linux")]
    {
        let probed = peer.options.tcp_keepalive.as_ref().unwrap();
        // Linux ends a silent connection by the same time, at the first probe after it.
        assert!(probed.user_timeout + probed.interval <= after(75), "{probed}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn neither_a_lost_packet_nor_a_slow_reader_is_taken_for_a_dead_end() {
    for write in [after(1), after(40), after(41), after(60), after(600), Duration::MAX] {
        let limits = Limits { provider_write: write, ..Limits::default() };
        let provider = Provider { base_url: "http://127.0.0.1:9/v1".to_owned(), ..Provider::openai() };
        let peer = Arc::new(Upstream::new(&provider, &limits).unwrap()).peer(false).await.unwrap();
        let probed = peer.options.tcp_keepalive.as_ref().unwrap();
        assert!(probed.user_timeout >= probed.idle + 2 * probed.interval, "{probed}");
        assert!(probed.user_timeout > write || write == Duration::MAX, "{probed}");
        assert!(i32::try_from(probed.user_timeout.as_millis()).is_ok(), "{probed}");
    }
}

#[test]
fn addresses_serve_while_new_ones_are_looked_up_and_not_for_ever() {
    let (upstream, now) = moved();
    let found = upstream.found.load_full();
    let look = |secs| upstream.look(&found, now + after(secs));
    assert_eq!([look(0), look(29), look(30)], [Look::No, Look::No, Look::Aside]);
    assert_eq!([look(299), look(300), look(3600)], [Look::Aside, Look::First, Look::First]);
    // A look-up failed a moment ago: nobody waits for the next.
    let failed = Found { addresses: found.addresses.clone(), when: now, tried: now + after(3599) };
    assert_eq!(upstream.look(&failed, now + after(3600)), Look::Aside);
    let none = Found { addresses: Vec::new(), when: now, tried: now };
    assert_eq!(upstream.look(&none, now), Look::First);
}

#[tokio::test]
async fn a_name_is_looked_up_anew_when_its_address_cannot_be_connected_to() {
    let (upstream, now) = moved();
    assert_eq!(upstream.address(now + after(2)).await.unwrap().to_string(), GONE);
    upstream.move_on(GONE.parse().unwrap());
    // The look-up is as good as new; another would say the same.
    assert_eq!(upstream.address(now).await.unwrap().to_string(), GONE);
    assert!(upstream.address(now + after(2)).await.unwrap().ip().is_loopback());
    let found = upstream.found.load_full();
    assert_eq!(upstream.look(&found, found.tried + after(2)), Look::No, "it is in doubt no more");
}

#[test]
fn a_look_up_that_is_given_up_leaves_the_address_in_doubt() {
    // The one thread that look-ups have is busy until `hold` is dropped.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv().is_err());
        let (upstream, now) = moved();
        upstream.move_on(GONE.parse().unwrap());
        let given_up = tokio::time::timeout(Duration::ZERO, upstream.address(now + after(2))).await;
        assert!(given_up.is_err(), "{given_up:?}");
        drop(hold);
        assert!(busy.await.unwrap());
        assert_eq!(upstream.look(&upstream.found.load_full(), now + after(2)), Look::First);
        assert!(upstream.address(now + after(2)).await.unwrap().ip().is_loopback());
    });
}

#[tokio::test]
async fn after_an_idle_hour_the_first_call_waits_for_the_look_up() {
    let (upstream, now) = moved();
    assert!(upstream.address(now + after(3600)).await.unwrap().ip().is_loopback());
}

#[tokio::test]
async fn old_addresses_serve_where_the_name_cannot_be_looked_up() {
    // No name is this long, so no server is asked (RFC 1035, 2.3.4).
    let name = "a".repeat(70);
    let (upstream, now) = (upstream(&format!("http://{name}.invalid:9/v1")), Instant::now());
    assert!(upstream.address(now).await.is_err(), "there is none to serve");
    let found = Found { addresses: vec![GONE.parse().unwrap()], when: now, tried: now };
    upstream.found.store(Arc::new(found));
    upstream.move_on(GONE.parse().unwrap());
    assert_eq!(upstream.address(now + after(2)).await.unwrap().to_string(), GONE);
}

#[tokio::test]
async fn who_waited_for_anothers_look_up_takes_its_outcome() {
    let (upstream, now) = moved();
    upstream.move_on(GONE.parse().unwrap());
    let tried = now + after(60);
    let found = Found { addresses: vec![GONE.parse().unwrap()], when: now, tried };
    upstream.found.store(Arc::new(found));
    upstream.renew(now + after(59)).await.unwrap();
    assert_eq!(upstream.found.load().tried, tried, "it was not asked again");
}

#[test]
fn the_address_in_use_is_kept_while_the_name_still_has_it() {
    let upstream = upstream("http://localhost:9/v1");
    let all = |hosts: &[u8]| -> Vec<SocketAddr> {
        hosts.iter().map(|n| SocketAddr::from(([192, 0, 2, *n], 9))).collect()
    };
    let now = Instant::now();
    let picked = |hosts: &[u8], used: Option<SocketAddr>| {
        let mut addresses = all(hosts);
        upstream.go_on_with(used, &mut addresses);
        upstream.pick(&Found { addresses, when: now, tried: now }).unwrap()
    };
    for moved in 0..3 {
        let used = picked(&[1, 2, 3], None);
        for rotated in [&[2, 3, 1][..], &[3, 1, 2], &[1, 2, 3], &[4, 3, 2, 1], &[5, 1, 4, 3, 2]] {
            assert_eq!(picked(rotated, Some(used)), used, "moved on {moved} times: {rotated:?}");
        }
        assert_ne!(picked(&[7, 8], Some(used)), used, "it has gone");
        upstream.at.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn calls_that_one_address_fails_at_once_move_on_from_it_once() {
    let upstream = upstream("http://localhost:9/v1");
    let addresses: Vec<SocketAddr> = [1, 2].map(|n| SocketAddr::from(([192, 0, 2, n], 9))).to_vec();
    let now = Instant::now();
    upstream.found.store(Arc::new(Found { addresses, when: now, tried: now }));
    let picked = || upstream.pick(&upstream.found.load()).unwrap();
    let failed = picked();
    (0..4).for_each(|_| upstream.move_on(failed));
    assert_ne!(picked(), failed);
    upstream.move_on(picked());
    assert_eq!(picked(), failed);
}

#[tokio::test]
async fn the_streams_of_a_connection_have_room_beside_those_that_are_not_read() {
    let peer = upstream("https://localhost:9/v1").peer(false).await.unwrap();
    let (stream, connection) =
        (peer.options.h2_stream_window_size.unwrap(), peer.options.h2_connection_window_size.unwrap());
    // All but one may be full, and that one has its whole window still.
    assert!(usize::try_from(connection / stream).unwrap() > peer.options.max_h2_streams);
}
