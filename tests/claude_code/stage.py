"""What a scenario stands on: a scripted upstream, the proxy, and Claude Code sessions in a folder of their own."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from relay import Relay  # noqa: E402
from proxy import KEY, Proxy, binary, provider  # noqa: E402, F401
from upstream import Seen, Upstream  # noqa: E402

# All scenarios, in the order of their files: name -> (function, long).
SCENARIOS: dict = {}
MODEL = "glm-test"


def scenario(f=None, *, long=False):
    """Registers a scenario; `long`: only with --long, or by name."""
    def register(f):
        assert f.__name__ not in SCENARIOS, f.__name__
        SCENARIOS[f.__name__] = (f, long)
        return f
    return register(f) if f else register


def text_of(content) -> str:
    """The text of a message's content, string or parts."""
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(b.get("text", "") for b in content if isinstance(b, dict))


def results_of(seen: Seen) -> dict:
    """Tool call id -> text of its result."""
    return {m["tool_call_id"]: text_of(m["content"]) for m in seen.messages if m["role"] == "tool"}


def tools_of(seen: Seen) -> dict:
    return {t["function"]["name"]: t["function"] for t in seen.body.get("tools") or []}


class Session:
    """One `claude -p` as it runs: its stream-json lines."""

    def __init__(self, claude: str, url: str, home: str, work: str, prompt: str, *args: str, env: dict | None = None,
                 key: str = KEY, model: str = MODEL, mode: str = "bypassPermissions") -> None:
        self.began = time.monotonic()
        self.env = {
            "PATH": os.environ["PATH"], "HOME": home, "IS_SANDBOX": "1", "NO_COLOR": "1",
            "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1", "DISABLE_AUTOUPDATER": "1",
            **{f"ANTHROPIC_DEFAULT_{m}_MODEL": model for m in ("OPUS", "SONNET", "HAIKU")},
            **(env or {}),
        }
        self.env = {k: v for k, v in self.env.items() if v is not None}
        # `--` ends options that take several values
        self.proc = subprocess.Popen(
            [claude, "-p", "--model", model, "--output-format", "stream-json", "--verbose", "--permission-mode", mode,
             *args, "--", prompt],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work, env=self.env)
        self.lines: list = []
        self.stdout = self.stderr = ""
        self.code: int | None = None

    def wait(self, limit: float = 120.0) -> "Session":
        try:
            self.stdout, self.stderr = self.proc.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.stdout, self.stderr = self.proc.communicate()
            raise AssertionError(f"Claude Code was not done after {limit} s: {self.stdout[-800:]} {self.stderr[-400:]}") from None
        self.code, self.took = self.proc.returncode, time.monotonic() - self.began
        self.lines = [json.loads(line) for line in self.stdout.splitlines() if line.startswith("{")]
        return self

    def interrupt(self) -> float:
        """What Ctrl-C sends; when it was sent."""
        self.proc.send_signal(signal.SIGINT)
        return time.monotonic()

    @property
    def result(self) -> dict:
        return next((e for e in self.lines if e.get("type") == "result"), {})

    @property
    def answer(self) -> str:
        return self.result.get("result", "")

    def blocks(self, kind: str) -> list:
        """Content blocks of a kind, in order: what the user saw."""
        return [b for e in self.lines if isinstance(e.get("message"), dict) and isinstance(e["message"].get("content"), list)
                for b in e["message"]["content"] if b.get("type") == kind]

    def outputs(self) -> dict:
        """Tool call id -> text of its result, as the user saw it."""
        return {b["tool_use_id"]: text_of(b["content"]) for b in self.blocks("tool_result")}


class Stage:
    """The upstream, and whatever a scenario starts: all ended when it ends."""

    def __init__(self, claude: str, show: bool = False) -> None:
        self.claude_path, self.show, self.proxy = claude, show, None
        self._exit = ExitStack()
        self.home = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="claude-home-", ignore_cleanup_errors=True))
        self.work = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="claude-work-", ignore_cleanup_errors=True))
        self.up = Upstream()
        self._exit.callback(self.up.stop)

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *exc) -> None:
        self._exit.close()

    def enter(self, context):
        """Something else that ends with the scenario."""
        return self._exit.enter_context(context)

    def file(self, name: str, content: str | bytes) -> str:
        path = Path(self.work) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def serve(self, profile: str = "generic", model: dict | None = None, provider_keys: dict | None = None, others: tuple = (),
              **config) -> Proxy:
        """The proxy in front of the upstream, with `others` as further models; `config` are further keys of the file."""
        one = provider(self.up.url, {"id": MODEL, **(model or {})}, *others, profile=profile, **(provider_keys or {}))
        self.proxy = self._exit.enter_context(Proxy({"ak": KEY, "providers": [one], **config}))
        return self.proxy

    def relay(self) -> Relay:
        """Between Claude Code and the proxy: `claude(..., url=relay.url)`."""
        if self.proxy is None:
            self.serve()
        relay = Relay(self.proxy.port)
        self._exit.callback(relay.stop)
        return relay

    def start(self, prompt: str, *args: str, url: str | None = None, **more) -> Session:
        if self.proxy is None:
            self.serve()
        return Session(self.claude_path, url or self.proxy.url, self.home, self.work, prompt, *args, **more)

    def claude(self, prompt: str, *args: str, fails: bool = False, limit: float = 120.0, **more) -> Session:
        """One session to its end, which must be a success unless it `fails`."""
        s = self.start(prompt, *args, **more).wait(limit)
        if self.show:
            print(f"--- {prompt}\n{s.stdout}\n{s.stderr}")
            for i, r in enumerate(self.up.seen):
                print(f"--- upstream request {i}: {r.headers.get('x-stainless-retry-count')} {r.raw.decode()[:200]} ... "
                      + json.dumps(r.messages[1:] if r.body else None)[-3000:])
        assert (s.code, s.result.get("is_error")) == ((1, True) if fails else (0, False)), \
            f"exit code {s.code}, result {json.dumps(s.result)[:600]}, stderr {s.stderr[-600:]}"
        return s

    @property
    def turns(self) -> list[Seen]:
        """Requests of the conversation (not the side requests, which offer no tools)."""
        return [r for r in self.up.seen if r.body and r.body.get("tools")]
