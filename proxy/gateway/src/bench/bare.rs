use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::Service as _;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use tokio::sync::watch;

/// A stock pingora service with nothing but `upstream_peer`.
pub(super) struct Bare {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

struct OnlyPeer(SocketAddr);

#[async_trait]
impl ProxyHttp for OnlyPeer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

impl Bare {
    pub(super) fn start(provider: SocketAddr) -> io::Result<Self> {
        // pingora binds by name and does not tell the port it got: take a free one first.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let conf =
            Arc::new(ServerConf { threads: 1, upstream_keepalive_pool_size: 512, ..ServerConf::default() });
        let mut service = http_proxy_service(&conf, OnlyPeer(provider));
        service.add_tcp(&address.to_string());
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("bare-0".to_owned()).spawn(move || {
            runtime.block_on(service.start_service(None, stopping, 1));
        })?;
        super::load::wait_for(address)?;
        Ok(Self { address, stop, thread })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::warn!("the bare pingora panicked");
        }
    }
}
