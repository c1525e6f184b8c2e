"""A program in a pseudo-terminal: what is typed, what is on the screen, how it ends."""
from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[@-Z\\-_=>()][0-9A-B]?|\r|\x07")


class Terminal:
    """Runs `argv` as the leader of a session of its own; `feed` sees each piece that it writes."""

    def __init__(self, argv: list[str], env: dict, cwd: str, rows: int = 40, columns: int = 120, feed=None) -> None:
        self.raw, self.mark, self.status, self.feed = "", 0, None, feed
        pid, self.fd = pty.fork()
        if pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)
        self.pid = pid
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, seconds: float) -> bool:
        """Reads for so long, or until something came."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:                                 # Linux says so at the end
            data = b""
        text = data.decode(errors="replace")
        self.raw += text
        if self.feed:
            self.feed(text)
        return bool(data)

    def text(self) -> str:
        """What came after what the last `expect` waited for, without escape sequences."""
        return ESCAPES.sub("", self.raw)[self.mark:]

    def expect(self, what: str, seconds: float = 30) -> str:
        """Waits until this text has come; what came before it, and itself."""
        until = time.monotonic() + seconds
        while what not in self.text():
            if time.monotonic() > until:
                raise AssertionError(f"{what!r} did not come within {seconds} s; on the terminal: {self.text()[-1500:]!r}")
            if not self.pump(0.1) and self.ended():
                while self.pump(0.05):
                    pass
                assert what in self.text(), f"the program ended without {what!r}; on the terminal: {self.text()[-1500:]!r}"
        seen = self.text()
        end = seen.index(what) + len(what)
        self.mark += end
        return seen[:end]

    def expect_hidden(self, what: str, seconds: float = 30) -> None:
        """The same, and until the terminal shows nothing that is typed: what comes before that is lost."""
        self.expect(what, seconds)
        until = time.monotonic() + seconds
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            assert time.monotonic() < until, f"what is typed is still shown; on the terminal: {self.text()[-1500:]!r}"
            self.pump(0.01)

    def send(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def hang_up(self) -> None:
        """Closes the terminal; the system sends SIGHUP."""
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, self.fd)
        os.close(null)

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def wait(self, seconds: float = 30) -> int:
        """Its exit code; minus the signal that ended it."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                raise AssertionError(f"it still runs after {seconds} s; on the terminal: {self.text()[-1500:]!r}")
            self.pump(0.1)
        while self.pump(0.1):
            pass
        return os.waitstatus_to_exitcode(self.status)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if not self.ended():
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
