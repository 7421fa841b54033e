//! An engine that says nothing: late where it is slow, away where it hangs.

use super::*;

/// An engine that takes everything, and answers what it can.
#[derive(Default)]
struct Engine {
    /// Its models come to no end.
    is_slow: AtomicBool,
    /// Nothing of it moves, as after SIGSTOP.
    hangs: AtomicBool,
    checks: AtomicUsize,
    chats: AtomicUsize,
}

impl Engine {
    async fn moves(&self) {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn computes(&self) {
        self.moves().await;
        if self.is_slow.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn serve(self: &Arc<Self>) -> (EngineClient, tempfile::TempDir) {
        let health = |State(it): State<Arc<Self>>| async move {
            it.checks.fetch_add(1, Ordering::Relaxed);
            it.moves().await;
            Json(json!({"chat": "small", "embed": "mini"}))
        };
        let embed = |State(it): State<Arc<Self>>| async move {
            it.computes().await;
            Json(json!({"data": [{"index": 0, "embedding": [1.0]}]}))
        };
        let chat = |State(it): State<Arc<Self>>| async move {
            it.chats.fetch_add(1, Ordering::Relaxed);
            it.computes().await;
            Json(good())
        };
        let app = Router::new()
            .route("/healthz", get(health))
            .route("/v1/embeddings", post(embed))
            .route("/v1/chat/completions", post(chat))
            .with_state(Arc::clone(self));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (EngineClient::new(EngineAddr::Unix(path)).unwrap(), dir)
    }
}

/// A question with time enough to find out that nobody is there, on a busy machine too.
fn asked() -> ChatAsk {
    ChatAsk { deadline: Duration::from_secs(1), ..chat_ask() }
}

#[test]
fn an_engine_that_hangs_is_away_and_asked_nothing_until_it_is_back() {
    block_on(async {
        let engine = Arc::new(Engine::default());
        let (client, _dir) = engine.serve();
        client.chat(asked()).await.unwrap();
        engine.hangs.store(true, Ordering::Relaxed);
        assert_eq!(client.chat(asked()).await.unwrap_err(), Declined::Unavailable);
        let chats = engine.chats.load(Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(client.chat(asked()).await.unwrap_err(), Declined::Unavailable);
            assert!(client.embed(&["a".to_owned()], Priority::Live).await.is_err());
        }
        assert_eq!(engine.chats.load(Ordering::Relaxed), chats);
        engine.hangs.store(false, Ordering::Relaxed);
        let back = async {
            while client.chat(asked()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), back).await.unwrap();
    });
}

#[test]
fn a_slow_engine_that_answers_its_health_check_is_late() {
    block_on(async {
        let engine = Arc::new(Engine::default());
        let (client, _dir) = engine.serve();
        engine.is_slow.store(true, Ordering::Relaxed);
        for n in 1..=2 {
            let ask = ChatAsk { deadline: Duration::from_millis(100), ..chat_ask() };
            assert_eq!(client.chat(ask).await.unwrap_err(), Declined::Late);
            assert_eq!(engine.chats.load(Ordering::Relaxed), n, "it is asked all the same");
        }
        assert!(engine.checks.load(Ordering::Relaxed) > 1, "it was looked for");
    });
}

#[test]
fn calls_that_wait_at_once_share_a_health_check() {
    block_on(async {
        let engine = Arc::new(Engine::default());
        let (client, _dir) = engine.serve();
        client.chat(asked()).await.unwrap();
        engine.hangs.store(true, Ordering::Relaxed);
        let checks = engine.checks.load(Ordering::Relaxed);
        let all = futures_util::future::join_all((0..5).map(|_| client.chat(asked()))).await;
        assert!(all.iter().all(|a| *a == Err(Declined::Unavailable)), "{all:?}");
        assert_eq!(engine.checks.load(Ordering::Relaxed), checks + 1);
    });
}

#[test]
fn a_part_that_a_hung_engine_was_to_embed_is_unavailable_and_not_late() {
    block_on(async {
        let engine = Arc::new(Engine::default());
        let (client, _dir) = engine.serve();
        engine.hangs.store(true, Ordering::Relaxed);
        let vector = asking::vector(&client, "a".into(), Priority::Live, Duration::from_secs(1)).await;
        assert_eq!(vector.unwrap_err(), Declined::Unavailable);
    });
}

#[test]
fn a_call_too_short_to_find_out_is_late_and_the_next_one_knows() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        // It takes the connection and never answers.
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let client = EngineClient::new(EngineAddr::Unix(path)).unwrap();
        let short = ChatAsk { deadline: Duration::from_millis(1), ..chat_ask() };
        assert_eq!(client.chat(short).await.unwrap_err(), Declined::Late);
        assert_eq!(client.chat(asked()).await.unwrap_err(), Declined::Unavailable);
    });
}
