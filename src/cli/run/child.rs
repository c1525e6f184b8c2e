//! The command that runs in front of the proxy, and the signals of both.
//!
//! They share a process group, so that the terminal is the command's: Ctrl-C and Ctrl-Z reach
//! both without us. What somebody sends to us alone is passed on.

use std::io;
use std::process::Command;

use tokio::sync::oneshot;

/// A started command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child {
    #[cfg(unix)]
    pid: rustix::process::Pid,
}

/// Its exit code, as a shell gives it.
pub(super) type Ended = oneshot::Receiver<io::Result<u8>>;

impl Child {
    /// Starts it, with our terminal and our process group.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, Ended)> {
        let child = command.spawn()?;
        let (tell, ended) = oneshot::channel();
        #[cfg(unix)]
        {
            let pid = rustix::process::Pid::from_child(&child);
            std::thread::spawn(move || tell.send(unix::wait(pid)));
            Ok((Self { pid }, ended))
        }
        #[cfg(not(unix))]
        {
            let mut child = child;
            // Windows has longer codes; what does not fit is still a failure.
            let code = |status: std::process::ExitStatus| {
                status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
            };
            std::thread::spawn(move || tell.send(child.wait().map(code)));
            Ok((Self {}, ended))
        }
    }
}

#[cfg(unix)]
pub(super) use unix::Signals;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::time::Duration;

    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, waitid, waitpid,
    };
    use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

    use super::Child;

    /// What is sent to this process.
    pub(in super::super) struct Signals {
        interrupt: Stream,
        quit: Stream,
        terminate: Stream,
        hangup: Stream,
        user1: Stream,
        user2: Stream,
        /// `fg` and `bg` wake the command too, `kill -CONT` only us.
        resumed: Stream,
        /// A terminal sends SIGINT and SIGQUIT to the command itself.
        terminal: bool,
    }

    impl Signals {
        /// From now on these signals no longer end this process.
        pub(in super::super) fn listen() -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
                resumed: signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
                // Only a process with a terminal can open it.
                terminal: std::fs::File::open("/dev/tty").is_ok(),
            })
        }

        /// The next signal; none if the command has it already.
        pub(in super::super) async fn next(&mut self) -> Option<Signal> {
            tokio::select! {
                _ = self.interrupt.recv() => (!self.terminal).then_some(Signal::INT),
                _ = self.quit.recv() => (!self.terminal).then_some(Signal::QUIT),
                _ = self.terminate.recv() => Some(Signal::TERM),
                _ = self.hangup.recv() => Some(Signal::HUP),
                _ = self.user1.recv() => Some(Signal::USR1),
                _ = self.user2.recv() => Some(Signal::USR2),
                _ = self.resumed.recv() => Some(Signal::CONT),
            }
        }

        /// The next one that asks to end.
        pub(in super::super) async fn end(&mut self) {
            while self.next().await == Some(Signal::CONT) {}
        }
    }

    impl Child {
        /// Sends it what was sent to us.
        pub(in super::super) fn pass(self, signal: Option<Signal>) {
            if let Some(signal) = signal {
                tracing::info!(signal = signal.as_raw(), "passed on to the command");
                // It may have ended just now.
                let _ = kill_process(self.pid, signal);
            }
        }

        /// Tells it to end.
        pub(in super::super) fn terminate(self) {
            self.pass(Some(Signal::TERM));
        }
    }

    /// Waits until it has ended. While it is stopped, so are we: otherwise the shell would wait
    /// for a job that does nothing.
    pub(super) fn wait(pid: Pid) -> io::Result<u8> {
        loop {
            let status = match waitpid(Some(pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) => status,
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            if let Some(code) = status.exit_status() {
                return Ok(u8::try_from(code).unwrap_or(1));
            }
            if let Some(signal) = status.terminating_signal() {
                return Ok(u8::try_from(128 + signal).unwrap_or(1));
            }
            if status.stopped() && !was_continued(pid)? {
                let _ = kill_process(getpid(), Signal::STOP);
            }
        }
    }

    /// Whether it runs again, or has ended: Ctrl-Z has stopped us with it, and we woke together.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
    fn was_continued(pid: Pid) -> io::Result<bool> {
        std::thread::sleep(Duration::from_millis(50));
        let now = WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
        // Its end is left for the wait that tells it.
        let look = WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(pid), now | look)?.is_some())
    }
}

#[cfg(not(unix))]
pub(super) use other::Signals;

#[cfg(not(unix))]
mod other {
    use std::io;

    use super::Child;

    /// Ctrl-C, which the console sends to the command too.
    pub(in super::super) struct Signals;

    impl Signals {
        /// From now on Ctrl-C does not end this process.
        pub(in super::super) fn listen() -> io::Result<Self> {
            // The first call keeps the system from ending us, also between two calls.
            let _ = tokio::signal::windows::ctrl_c()?;
            Ok(Self)
        }

        /// The next one.
        pub(in super::super) async fn next(&mut self) {
            let _ = tokio::signal::ctrl_c().await;
        }

        /// The next one that asks to end: each does.
        pub(in super::super) async fn end(&mut self) {
            self.next().await;
        }
    }

    impl Child {
        /// The console has told it already.
        pub(in super::super) fn pass(self, (): ()) {}

        /// Nothing on this system says this to a process that has no window.
        pub(in super::super) fn terminate(self) {}
    }
}
