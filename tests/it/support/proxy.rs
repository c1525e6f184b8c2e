//! The proxy, in this process.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use claude_proxy::config::Config;
use claude_proxy::server::{Bound, Load, Reload, Server};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub struct Proxy {
    pub addr: SocketAddr,
    pub load: Load,
    pub reload: Reload,
    stop: UnboundedSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(config: Config) -> Self {
        Self::start_with(config, |_| {})
    }

    /// With something set that no configuration tells.
    pub fn start_with(config: Config, set: impl FnOnce(&mut Bound) + Send + 'static) -> Self {
        let (told, addr) = mpsc::channel();
        let (stop, stopped) = unbounded_channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let mut bound = Server::bind(Arc::new(config)).unwrap();
                set(&mut bound);
                told.send((bound.addr(), bound.load(), bound.reload())).unwrap();
                bound.run(stopped).await.unwrap();
            });
        });
        let (addr, load, reload) = addr.recv_timeout(super::PATIENCE).expect("the proxy starts");
        Self { addr, load, reload, stop, thread: Some(thread) }
    }

    /// What SIGTERM does.
    pub fn signal(&self) {
        let _ = self.stop.send(());
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended by itself.
    pub fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.signal();
        self.signal();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
