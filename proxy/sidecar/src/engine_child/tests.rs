use super::*;

fn care(script: &str, dir: &std::path::Path) -> Care {
    Care {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        socket: dir.join("engine.sock"),
        nice: 5,
        memory_limit: 1 << 40,
        hung_after: Duration::from_millis(50),
        every: Duration::from_millis(5),
        pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(8),
    }
}

/// Waits for the engine to be in a state, however long that takes.
fn until(engine: &Supervised, wanted: impl FnMut(&Health) -> bool) -> Health {
    let mut health = engine.health();
    crate::console::runtime().unwrap().block_on(async move { health.wait_for(wanted).await.unwrap().clone() })
}

fn counts(engine: &Supervised) -> Counts {
    *engine.counts().lock().unwrap()
}

#[test]
fn one_that_ends_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Supervised::start(care("exit 3", dir.path())).unwrap();
    let mut starts = 0;
    let down = until(&engine, |h| {
        starts += u32::from(matches!(h, Health::Down(_)));
        starts >= 2
    });
    assert!(matches!(&down, Health::Down(why) if why.contains("exit status: 3")), "{down:?}");
    assert!(counts(&engine).starts >= 2);
}

#[test]
fn one_that_does_not_answer_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let engine =
        Supervised::start(care(&format!("echo $$ > {}; exec sleep 1000", pid.display()), dir.path()))
            .unwrap();
    let down = until(&engine, |h| matches!(h, Health::Down(_)));
    assert!(matches!(&down, Health::Down(why) if why.contains("did not answer")), "{down:?}");
    assert!(counts(&engine).hung >= 1);
}

#[test]
fn one_whose_model_hangs_is_killed_though_it_answers() {
    use std::io::{Read as _, Write as _};
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let mut care = care(&format!("echo $$ > {}; exec sleep 1000", pid.display()), dir.path());
    care.hung_after = Duration::from_secs(60);
    let socket = care.socket.clone();
    let engine = Supervised::start(care).unwrap();
    while !pid.exists() {
        std::thread::yield_now();
    }
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let body = "{\"models\": {\"chat\": {\"step_ms\": 61000}, \"embed\": null}}";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let down = until(&engine, |h| matches!(h, Health::Down(_)));
    assert!(matches!(&down, Health::Down(why) if why.contains("a step of a model")), "{down:?}");
    assert!(counts(&engine).hung >= 1);
}

#[test]
fn one_that_takes_too_much_memory_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut care = care("exec sleep 1000", dir.path());
    care.memory_limit = 1;
    care.hung_after = Duration::from_secs(60);
    let engine = Supervised::start(care).unwrap();
    let down = until(&engine, |h| matches!(h, Health::Down(_)));
    assert!(matches!(&down, Health::Down(why) if why.contains("memory")), "{down:?}");
    assert!(counts(&engine).memory >= 1);
}

#[test]
fn it_ends_with_us() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let mut care =
        care(&format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()), dir.path());
    care.hung_after = Duration::from_secs(60);
    let engine = Supervised::start(care).unwrap();
    let id = loop {
        if let Ok(text) = std::fs::read_to_string(&pid) {
            break text.trim().to_owned();
        }
        std::thread::yield_now();
    };
    drop(engine);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
}
