"""Starts and stops the built binary."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "test-inbound-key-3f9c"
UPSTREAM_KEY = "sk-test-upstream-77aa"


def binary() -> str:
    """`$CLAUDE_PROXY_BIN`, else the debug build."""
    path = os.environ.get("CLAUDE_PROXY_BIN") or str(ROOT / "target/debug/claude-proxy")
    if not os.access(path, os.X_OK):
        sys.exit(f"{path} is not there: build it (cargo build), or set CLAUDE_PROXY_BIN")
    return os.path.abspath(path)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """`claude-proxy serve` with the given config (its port is set here), or with other arguments."""

    def __init__(self, config: dict | None, *args: str, env: dict | None = None) -> None:
        self.dir = tempfile.TemporaryDirectory(prefix="claude-proxy-test-")
        self.log = Path(self.dir.name) / "log.txt"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        cmd = [binary(), "serve", *args]
        if config is None:
            cmd += ["--port", str(self.port)]
        else:
            path = Path(self.dir.name) / "config.json"
            path.write_text(json.dumps({"port": self.port, **config}, indent=2))
            cmd += ["--config", str(path)]
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir.name,
                                         env={**os.environ, "NO_COLOR": "1", **(env or {})})
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if self.proc.poll() is not None:
                raise RuntimeError(f"claude-proxy exited with {self.proc.returncode}: {self.text()[-1500:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2) as r:
                    if r.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"claude-proxy is not ready after 30 s: {self.text()[-1500:]}")

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> int | None:
        """SIGTERM, and the exit code (None: it had to be killed)."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                return None
        return self.proc.returncode

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)       # stop() sends another, which ends it without the grace time
            time.sleep(0.05)
        self.stop()
        self.dir.cleanup()


def provider(base_url: str, *models: dict, **more) -> dict:
    return {"base_url": base_url, "api_key": UPSTREAM_KEY, "models": list(models), **more}
