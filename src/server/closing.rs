//! Closing a port without a reset for those who are just coming.
//!
//! When a listener closes, Linux resets the connections in its queue, and their clients have sent
//! a request by then: a load balancer may not send it to anybody else. So new connections are
//! turned away first, without a word, while those that are there are still accepted; who was
//! turned away knocks again after a second, is refused, and goes elsewhere with all that it has.

use std::net::TcpListener;
use std::time::Duration;

/// After the last one was let in: until handshakes are over, connections accepted, and the heads of
/// their first requests here, on a machine that has ten times as much to do as it can.
/// Connections without a request are closed then.
pub(super) const LAST_COMERS: Duration = Duration::from_millis(250);

/// A second handle of a listener.
#[derive(Debug)]
pub(super) struct Door(Option<TcpListener>);

impl Door {
    /// The one that `listener` is for.
    pub(super) fn of(listener: &TcpListener) -> Self {
        Self(listener.try_clone().ok())
    }

    /// Ignores who wants to connect from now on. Best effort: where it does not work, the window in
    /// which somebody is reset stays a small one.
    pub(super) fn turn_away(self) {
        #[cfg(target_os = "linux")]
        if let Some(listener) = &self.0
            && let Err(error) = turn_away(listener)
        {
            tracing::debug!(%error, "new connections cannot be filtered");
        }
    }
}

/// Drops packets with SYN and without ACK. A listener's filter sees the TCP header first; flags are
/// its byte 13. Connections take it over from their listener, and never see such a packet.
#[cfg(target_os = "linux")]
fn turn_away(listener: &TcpListener) -> std::io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Of the classic BPF: linux/bpf_common.h.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;

    SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn who_is_there_comes_in_and_who_comes_later_does_not() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let addr = listener.local_addr().unwrap();
            let mut early = TcpStream::connect(addr).unwrap();
            turn_away(&listener).unwrap();
            let late = TcpStream::connect_timeout(&addr, Duration::from_millis(200));
            assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{host}");
            // Not accepted before; its packets still pass.
            early.write_all(b"ask").unwrap();
            let (mut accepted, _) = listener.accept().unwrap();
            drop(listener);
            let mut bytes = [0; 3];
            accepted.read_exact(&mut bytes).unwrap();
            accepted.write_all(b"say").unwrap();
            early.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"say");
            let refused = TcpStream::connect(addr).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    }
}
