//! Run by a service manager: its socket, and what it is told (systemd's sd_listen_fds(3) and
//! sd_notify(3)).
//!
//! Nothing here does anything where nobody asked for it: with `$LISTEN_FDS` and `$NOTIFY_SOCKET`.

#[cfg(unix)]
use sd_notify::NotifyState;

/// What a service manager is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tell<'a> {
    /// Requests are answered from now on, in the words of this status.
    Ready(&'a str),
    /// The configuration is being read again; [`Tell::Ready`] ends that.
    Reloading,
    /// No new requests.
    Stopping,
}

/// Tells it. A service manager that does not listen any more is no reason to end.
#[cfg(unix)]
pub(super) fn tell(what: Tell<'_>) {
    let told = match what {
        Tell::Ready(status) => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]),
        // With the time, as `Type=notify-reload` wants it.
        Tell::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Tell::Stopping => sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("no new requests, running ones may finish"),
        ]),
    };
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

#[cfg(not(unix))]
pub(super) fn tell(_: Tell<'_>) {}

/// The socket that is there already; none: one has to be opened.
///
/// # Errors
/// It is none that one can listen on for TCP, or there are several.
#[cfg(unix)]
pub(super) fn socket() -> anyhow::Result<Option<std::net::TcpListener>> {
    use anyhow::Context as _;

    let mut given = listenfd::ListenFd::from_env();
    anyhow::ensure!(given.len() < 2, "the service manager passes {} sockets, and one is served", given.len());
    let socket = given.take_tcp_listener(0);
    socket.context(
        "the service manager passes a socket that is not for TCP (ListenStream= takes an address and port)",
    )
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as on Unix")]
pub(super) fn socket() -> anyhow::Result<Option<std::net::TcpListener>> {
    Ok(None)
}
