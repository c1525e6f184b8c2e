#!/usr/bin/env python3
"""What systemd relies on: contrib/'s unit files, and a service that says when it is ready and takes a socket that is open.

    tests/scale/service.py

systemd itself does not have to run: this script listens where it would, and passes the socket that it would. Its own judgement of
the files is asked for where systemd-analyze is installed. $CLAUDE_PROXY_BIN is what runs (else the release build, else the debug one).
"""
from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from run import PATIENCE, ROOT, binary

# Of systemd-analyze's exposure, in tenths: "2.0".
MOST = 20
BASE = {"host": "127.0.0.1", "port": 0, "workers": 1, "providers": [{"base_url": "http://127.0.0.1:9", "api_key": "", "models": [{"id": "m"}]}]}


def expect(so: bool, otherwise: object) -> None:
    if not so:
        raise AssertionError(otherwise)


def analyze(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(["systemd-analyze", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "SYSTEMD_PAGER": ""})


def units(where: Path) -> str | None:
    if shutil.which("systemd-analyze") is None:
        return "no systemd-analyze"
    for name in ("claude-proxy.service", "claude-proxy.socket"):
        text = (ROOT / "contrib" / name).read_text()
        # It looks for the program; nothing else is changed.
        (where / name).write_text(text.replace("ExecStart=/usr/bin/claude-proxy ", f"ExecStart={binary()} "))
    files = [str(where / name) for name in ("claude-proxy.service", "claude-proxy.socket")]
    done = analyze("verify", "--man=no", *files)
    expect(done.returncode == 0 and "claude-proxy" not in done.stdout, done.stdout)
    done = analyze("security", "--no-pager", "--offline=true", f"--threshold={MOST}", files[0])
    expect(done.returncode == 0, done.stdout)
    print(f"      {done.stdout.strip().splitlines()[-1].strip('→ ')}")
    # The same judgement of a unit without hardening: it does tell the difference.
    bare = where / "bare.service"
    bare.write_text(f"[Service]\nExecStart={binary()}\n")
    expect(analyze("security", "--no-pager", "--offline=true", f"--threshold={MOST}", str(bare)).returncode != 0, "a bare unit passes")
    return None


def stop_time(_: Path) -> None:
    """systemd waits longer than the proxy may take: lame duck, handshakes, grace and last words."""
    unit = (ROOT / "contrib/claude-proxy.service").read_text()
    seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    grace = int(re.search(r"\| `shutdown_grace_seconds` \| (\d+) \|", (ROOT / "README.md").read_text())[1])
    expect(seconds >= grace + 5, f"{seconds} s for a grace of {grace} s")


class Service:
    """The program with what a service manager gives it."""

    def __init__(self, where: Path, env: dict, listener: socket.socket | None = None, **config) -> None:
        path = where / "config.json"
        path.write_text(json.dumps({**BASE, **config}))
        self.log = where / "log"
        more: dict = {}
        command = [binary(), "serve", "--config", str(path)]
        if listener is not None:
            # The pid of the process that it is for is known to itself first.
            command = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@"', "sh", *command]
            more = {"pass_fds": (3,), "preexec_fn": lambda: os.dup2(listener.fileno(), 3)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}, **more)

    def port(self) -> int:
        until = time.monotonic() + PATIENCE
        while not (found := re.findall(r"listens on http://127\.0\.0\.1:(\d+)", self.log.read_text())):
            expect(self.process.poll() is None and time.monotonic() < until, self.log.read_text())
            time.sleep(0.01)
        return int(found[-1])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", path, headers={"connection": "close"})
    status = connection.getresponse().status
    connection.close()
    return status


def notify(where: Path) -> None:
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(str(where / "notify"))
    ear.settimeout(PATIENCE)
    hear = lambda: dict(line.split("=", 1) for line in ear.recv(4096).decode().split("\n") if line)          # noqa: E731
    service = Service(where, {"NOTIFY_SOCKET": str(where / "notify")})
    try:
        said = hear()
        port = service.port()
        expect(said == {"READY": "1", "STATUS": f"listening on 127.0.0.1:{port}"}, said)
        expect(get(port, "/ready") == 200, "it said that it is ready")
        for changed in ({"ping_interval_seconds": 7}, {"ping_interval_seconds": "no number"}):
            (where / "config.json").write_text(json.dumps({**BASE, **changed}))
            service.process.send_signal(signal.SIGHUP)
            said = hear()
            # Within a minute on the clock that systemd compares with.
            expect(said.pop("RELOADING") == "1" and 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) - int(said.pop("MONOTONIC_USEC")) / 1e6 < 60 and not said, said)
            expect(hear()["READY"] == "1", "the end of a reload")
        service.process.send_signal(signal.SIGTERM)
        said = hear()
        expect(said.pop("STOPPING") == "1" and set(said) == {"STATUS"}, said)
        expect(service.process.wait(PATIENCE) == 0, service.log.read_text())
        ear.setblocking(False)
        try:
            expect(False, hear())
        except BlockingIOError:
            pass
    finally:
        service.end()
    # Nobody listens: no reason to end.
    service = Service(where, {"NOTIFY_SOCKET": str(where / "nobody")})
    try:
        expect(get(service.port(), "/health") == 200, "it runs")
    finally:
        service.end()


def activation(where: Path) -> None:
    """The port is never closed: three processes in turn, and none of those who ask all the time is refused."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port, over = listener.getsockname()[1], threading.Event()
    answers: list[object] = []

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(get(port, "/health"))
            except OSError as e:
                answers.append(e)
            time.sleep(0.002)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    try:
        for n in range(3):
            # `port` says something else, which a socket that is there goes before.
            service = Service(where, {}, listener, port=9)
            expect(service.port() == port, "another port")
            if n == 0:
                for client in clients:
                    client.start()
            before = len(answers)
            while len(answers) < before + 50:
                expect(service.process.poll() is None, service.log.read_text())
                time.sleep(0.01)
            service.process.send_signal(signal.SIGTERM)
            expect(service.process.wait(PATIENCE) == 0, service.log.read_text())
        service = Service(where, {}, listener)
        service.port()
    finally:
        over.set()
        for client in clients:
            if client.ident is not None:
                client.join()
        service.end()
    bad = [a for a in answers if a != 200]
    print(f"      {len(answers)} requests, each on a connection of its own, across 3 restarts")
    expect(not bad, f"{len(bad)} of {len(answers)}: {bad[:5]}")


def wrong_sockets(where: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(where / "unix"))
        listener.listen()
        service = Service(where, {}, listener)
        try:
            code = service.process.wait(PATIENCE)
            said = service.log.read_text()
            expect(code == 1 and "ListenStream= takes an address and port" in said and "panicked" not in said, (code, said))
        finally:
            service.end()


def main() -> int:
    passed = failed = 0
    for test in (units, stop_time, notify, activation, wrong_sockets):
        with tempfile.TemporaryDirectory(prefix="claude-proxy-service-") as where:
            try:
                skipped = test(Path(where))
            except Exception as e:                                                       # noqa: BLE001
                failed += 1
                print(f"WRONG {test.__name__}: {e!r}", flush=True)
                continue
        passed += skipped is None
        print(f"ok    {test.__name__}" if skipped is None else f"skip  {test.__name__}: {skipped}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
