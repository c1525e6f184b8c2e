//! A place where nobody may come.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts who comes.
pub struct Canary {
    pub addr: SocketAddr,
    pub base: String,
    visits: Arc<AtomicUsize>,
}

impl Canary {
    pub fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    pub fn start_on(addr: &str) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visits);
        std::thread::spawn(move || {
            for visitor in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(visitor);
            }
        });
        Self { addr, base: format!("http://{addr}"), visits }
    }

    pub fn assert_alone(&self) {
        // Whoever comes late comes within this.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(self.visits.load(Ordering::SeqCst), 0, "somebody came");
    }
}
