#!/usr/bin/env python3
"""Real Claude Code sessions started by `claude-proxy run`, on a terminal and headless.

usage: session.py CLAUDE-EXECUTABLE [--show]       the binary: $CLAUDE_PROXY_BIN; needs pyte
"""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pyte

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from checks import run  # noqa: E402
from proxy import binary, provider  # noqa: E402
from terminal import ESCAPES, Terminal  # noqa: E402
from upstream import Upstream, call, either, error, whole  # noqa: E402

CLAUDE, SHOW = os.path.abspath(sys.argv[1]), "--show" in sys.argv
BINARY = binary()
ROWS, COLUMNS = 45, 140
ENTER, DOWN, CTRL_C, CTRL_Z = "\r", "\x1b[B", "\x03", "\x1a"


class Place:
    """A fresh home and a folder to work in."""

    def __enter__(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="claude-code-run-", ignore_cleanup_errors=True)
        self.home, self.work = Path(self.tmp.name) / "home", Path(self.tmp.name) / "work"
        self.home.mkdir()
        self.work.mkdir()
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8",
                    "IS_SANDBOX": "1", "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    # what `run` has to take away: Claude Code would ask about the one and follow the other
                    "ANTHROPIC_API_KEY": "sk-ant-not-this-one", "CLAUDE_CODE_USE_BEDROCK": "1"}
        return self

    def __exit__(self, *exc):
        self.tmp.cleanup()

    def log(self) -> str:
        logs = sorted((self.home / ".local/state/claude-proxy").glob("run-*.log"))
        assert len(logs) == 1, logs
        return logs[0].read_text()


class Session(Terminal):
    """A terminal with a screen; `on` waits for a text on it."""

    def __init__(self, place: Place, *argv: str, **env) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        stream = pyte.Stream(self.screen)
        super().__init__(list(argv), {**place.env, **env}, str(place.work), ROWS, COLUMNS, stream.feed)

    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display if line.strip())

    def on(self, *texts: str, seconds: float = 60) -> str:
        """Waits until one of these is on the screen, and says which."""
        until = time.monotonic() + seconds
        while True:
            shown = self.shown()
            for text in texts:
                if text in shown:
                    return text
            assert time.monotonic() < until, f"none of {texts} in {seconds} s; the screen:\n{shown}"
            assert not self.ended(), f"ended with {self.status} before any of {texts}; the screen:\n{shown}"
            self.pump(0.2)

    def settle(self) -> None:
        """Until nothing has come for a while: it then listens to keys."""
        until = time.monotonic() + 20
        while self.pump(0.7) and time.monotonic() < until:
            pass

    def begin(self) -> None:
        """Through the questions of a first run, to the prompt."""
        style, notes, trust, prompt = "Choose the text style", "Press Enter to continue", "Yes, I trust this folder", "shift+tab"
        while (seen := self.on(style, notes, trust, prompt)) != prompt:
            self.settle()
            if seen == trust:
                while "❯ Yes, I trust" not in self.shown():
                    self.send(DOWN)
                    self.settle()
            self.send(ENTER)
            self.settle()
        self.settle()

    def ask(self, text: str) -> None:
        self.send(text)
        self.on(text)
        self.settle()
        self.send(ENTER)

    def url(self) -> str:
        found = re.search(r"listens on (http://127\.0\.0\.1:\d+) for this command; its log: \S+", ESCAPES.sub("", self.raw))
        assert found, self.raw[:500]
        return found[1]


def gone(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()
        return False
    except (urllib.error.URLError, OSError):
        return True


ANSWER = "I am the demo model behind claude-proxy"


def a_first_session_from_nothing():
    """A new user: no home, no configuration, one command."""
    with Place() as p, Session(p, BINARY, "run", "--demo", "--", CLAUDE) as s:
        s.begin()
        url = s.url()
        assert not gone(url)
        s.ask("Hello there")
        s.on(ANSWER)
        s.settle()
        shown = s.shown()
        if SHOW:
            print(shown)
        assert "demo" in shown and "Error" not in shown, shown
        s.ask("/exit")
        assert s.wait() == 0
        assert gone(url), "the proxy outlived the session"
        assert " INFO " not in s.raw and " WARN " not in s.raw, "the log came to the terminal"
        log = p.log()
        assert "model=demo" in log and "the command has ended code=0" in log, log[-2000:]


def ctrl_c_twice_leaves():
    with Place() as p, Session(p, BINARY, "run", "--demo", "--", CLAUDE) as s:
        s.begin()
        url = s.url()
        s.send(CTRL_C)
        s.on("Press Ctrl-C again")
        assert not gone(url), "the first Ctrl-C ended the proxy"
        s.send(CTRL_C)
        assert s.wait() == 0
        assert gone(url)


def ctrl_z_and_back():
    """Claude Code stops itself and its group; the shell gets its prompt, and `fg` brings all back."""
    with Place() as p, Session(p, "bash", "--norc", "--noprofile", "-i", PS1="ready> ") as s:
        s.on("ready>")
        s.send(f"{BINARY} run --demo -- {CLAUDE}\n")
        s.begin()
        s.send(CTRL_Z)
        s.on("Stopped")
        s.settle()
        s.send("fg\n")
        s.settle()
        s.on("shift+tab")
        s.ask("Hello again")
        s.on(ANSWER)
        s.settle()
        s.ask("/exit")
        s.settle()
        s.send("echo code=$?\n")
        s.on("code=0")
        assert gone(s.url())
        s.send("exit\n")
        assert s.wait() == 0


def headless(place: Place, *options: str, prompt: str = "Hello?") -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "run", *options, "--", CLAUDE, "-p", prompt, "--output-format", "json"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, cwd=place.work,
                          env={**place.env, "CLAUDE_CODE_MAX_RETRIES": "1"})


def headless_with_the_demo():
    with Place() as p:
        done = headless(p, "--demo")
        assert done.returncode == 0 and ANSWER in json.loads(done.stdout)["result"], done
        assert done.stderr.startswith("claude-proxy listens on http://127.0.0.1:") and "INFO" not in done.stderr, done.stderr
        quiet = headless(p, "--demo", "-q", "--log-file", "proxy.log")
        assert quiet.returncode == 0 and "claude-proxy listens" not in quiet.stderr, quiet.stderr
        assert "model=demo" in (p.work / "proxy.log").read_text()


def headless_with_a_model_of_the_configuration():
    up = Upstream()
    up.play(either("From the second model."))
    with Place() as p:
        config = {"ak": "not-needed-here", "port": 1, "providers": [provider(up.url, {"id": "first"}, {"id": "second", "remote_id": "two"})]}
        (p.work / "config.json").write_text(json.dumps(config))
        done = headless(p, "--model", "second")
        assert done.returncode == 0 and json.loads(done.stdout)["result"] == "From the second model.", done
        assert {r.body["model"] for r in up.seen} == {"two"}
    up.stop()


def the_exit_code_is_claudes():
    up = Upstream()
    up.play(error(403, "your plan does not include this model", "permission_error"))
    with Place() as p:
        (p.work / "config.json").write_text(json.dumps({"providers": [provider(up.url, {"id": "glm"})]}))
        done = headless(p)
        assert done.returncode == 1 and "your plan does not include this model" in json.loads(done.stdout)["result"], done
    up.stop()


def auto_mode_on_a_terminal():
    """Two commands, one of which the judge lets pass: it runs without a question, the other one is blocked and told why."""
    def answer(seen):
        if seen.body["model"] == "judge":
            prompt = seen.messages[-1]["content"]
            verdict = ("block", "It spoils the harvest.") if "spoil" in prompt.split("THE CALL TO JUDGE")[1] else ("allow", "It counts.")
            return whole(json.dumps({"nonce": prompt.split()[1], "explanation": verdict[1], "decision": verdict[0]}))
        if not seen.body.get("tools"):
            return either("A title.")(seen)
        steps = [call("call_good", "Bash", {"command": "echo $((6 * 7)) > count.txt", "description": "Count the apples"}),
                 call("call_bad", "Bash", {"command": "echo spoil > harvest.txt", "description": "Look at the apples"})]
        n = sum(m["role"] == "tool" for m in seen.messages)
        return (either(None, [steps[n]]) if n < len(steps) else either("The apples are done."))(seen)

    up = Upstream()
    up.play(answer)
    with Place() as p:
        config = {"safeguards_model": "judge", "providers": [provider(up.url, {"id": "glm"}, {"id": "judge"})]}
        (p.work / "config.json").write_text(json.dumps(config))
        with Session(p, BINARY, "run", "--model", "glm", "--", CLAUDE, "--permission-mode", "auto") as s:
            s.begin()
            s.on("auto mode on")
            s.ask("Count the apples")
            s.on("The apples are done.")
            s.settle()
            shown = s.shown()
            if SHOW:
                print(shown)
            assert (p.work / "count.txt").read_text() == "42\n" and not (p.work / "harvest.txt").exists(), shown
            assert "It spoils the harvest" in " ".join(shown.split()), shown
            assert "eligible" not in shown and "Do you want" not in shown, shown
            assert {r.body["model"] for r in up.seen} == {"glm", "judge"}
            s.ask("/exit")
            assert s.wait() == 0
    up.stop()


def main() -> int:
    return run([headless_with_the_demo, headless_with_a_model_of_the_configuration, the_exit_code_is_claudes,
                a_first_session_from_nothing, auto_mode_on_a_terminal, ctrl_c_twice_leaves, ctrl_z_and_back])


if __name__ == "__main__":
    sys.exit(main())
