#!/usr/bin/env python3
"""The built binary on a terminal: questions, job control, completion in real shells, colour.

usage: run.py [NAME...]       the binary: $CLAUDE_PROXY_BIN
"""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from checks import Skip, run  # noqa: E402
from proxy import binary  # noqa: E402
from terminal import Terminal  # noqa: E402
from upstream import Answer, Upstream, either, error  # noqa: E402

BINARY = binary()
UP, DOWN, ENTER, CTRL_C, CTRL_Z = "\x1b[A", "\x1b[B", "\r", "\x03", "\x1a"


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Dir:
    """A folder to work in, and an environment in which `claude-proxy` is this binary."""

    def __enter__(self):
        self.tmp = tempfile.TemporaryDirectory(prefix="claude-proxy-terminal-")
        self.path = Path(self.tmp.name)
        (self.path / "bin").mkdir()
        (self.path / "bin" / "claude-proxy").symlink_to(BINARY)
        (self.path / "work").mkdir()
        self.work = self.path / "work"
        self.env = {"PATH": f"{self.path}/bin:{os.environ['PATH']}", "HOME": str(self.path), "TERM": "xterm-256color",
                    "LANG": "C.UTF-8", "NO_COLOR": "1", "SHELL": "/bin/bash"}
        return self

    def __exit__(self, *exc):
        self.tmp.cleanup()

    def terminal(self, *argv: str, **more) -> Terminal:
        return Terminal(list(argv), {**self.env, **more}, str(self.work))

    def shell(self, **more) -> Terminal:
        return self.terminal("bash", "--norc", "--noprofile", "-i", PS1="ready> ", **more)

    def config(self) -> dict:
        return json.loads((self.work / "config.json").read_text())


def server(good: str) -> Upstream:
    """Has a list of models; only one of them answers."""
    up = Upstream()

    def answer(seen):
        if seen.path.endswith("/models"):
            listed = [{"id": "small-1", "max_model_len": 8192}, {"id": good, "max_model_len": 65536, "owned_by": "vllm"}]
            body = json.dumps({"object": "list", "data": listed}).encode()
            return Answer(headers={"content-type": "application/json"}, parts=[body])
        if seen.body["model"] != good:
            return error(404, f"model {seen.body['model']} does not exist")
        return either("pong")(seen)
    up.play(answer)
    return up


# --- init ---------------------------------------------------------------------

def init_asks_tries_and_writes():
    up = server("org/big-2")
    with Dir() as d, d.terminal("claude-proxy", "init") as t:
        t.expect("Where are your models?")
        t.send(UP + UP + ENTER)                         # another server: the last but one
        t.expect("URL")
        t.send(up.url + ENTER)
        t.expect("Where is the API key?")
        t.send(UP + UP + ENTER)                         # type it: the last but one
        t.expect_hidden("API key:")
        t.send("sk-typed-0123456789" + ENTER)
        t.expect("Which model?")
        t.send("big" + ENTER)
        t.expect("The name that clients will use")
        t.send(ENTER)
        t.expect("claude-proxy run -- claude")
        assert t.wait() == 0
        assert "sk-typed" not in t.raw, "the key was shown"
        assert d.config() == {
            "providers": [{"base_url": up.url, "api_key": "sk-typed-0123456789", "profile": "vllm",
                           "models": [{"id": "big-2", "remote_id": "org/big-2", "context_window": 65536}]}],
            "aliases": {"claude-*": "big-2"}}
        assert stat.S_IMODE((d.work / "config.json").stat().st_mode) == 0o600
        assert up.last.headers["authorization"] == "Bearer sk-typed-0123456789"
        check = subprocess.run(["claude-proxy", "check-config", "--strict"], env=d.env, cwd=d.work, capture_output=True, text=True)
        assert check.returncode == 0, check
    up.stop()


def init_offers_the_usual_variable():
    with Dir() as d, d.terminal("claude-proxy", "init", "--no-ping", "--model", "deepseek-chat", DEEPSEEK_API_KEY="sk-1234567890") as t:
        t.expect("Where are your models?")
        t.send(ENTER)
        t.expect("DEEPSEEK_API_KEY")
        t.send(ENTER)
        assert t.wait() == 0
        assert d.config()["providers"] == [{"name": "deepseek", "base_url": "https://api.deepseek.com",
                                            "api_key": "${DEEPSEEK_API_KEY}", "models": [{"id": "deepseek-chat"}]}]


def init_asks_whether_a_model_that_fails_is_wanted():
    up = server("org/big-2")
    with Dir() as d:
        for answer, code in (("n", 1), ("y", 0)):
            with d.terminal("claude-proxy", "init", "--provider", up.url, "--model", "small-1", "--key-env", "HOME") as t:
                t.expect("does not exist")
                t.expect("Write the file all the same?")
                t.send(answer + ENTER)
                assert t.wait() == code
                assert (d.work / "config.json").exists() == (code == 0)
    up.stop()


def init_asks_nothing_with_yes():
    with Dir() as d, d.terminal("claude-proxy", "init", "--yes") as t:
        t.expect("nothing is asked with --yes")
        assert t.wait() == 2


def ctrl_c_at_a_question_shows_the_cursor_again():
    with Dir() as d, d.terminal("claude-proxy", "init") as t:
        t.expect("Where are your models?")
        assert "\x1b[?25l" in t.raw, "nothing hid the cursor: this shows nothing"
        t.send(CTRL_C)
        assert t.wait() == -2
        assert t.raw.rindex("\x1b[?25h") > t.raw.rindex("\x1b[?25l"), t.raw[-300:]
        assert not list(d.work.iterdir())


# --- env ----------------------------------------------------------------------

def env_shows_no_key_on_a_terminal():
    with Dir() as d:
        config = {"ak": "sesame-0123456789", "providers": [{"base_url": "http://127.0.0.1:1", "api_key": "", "models": [{"id": "m"}]}]}
        (d.work / "config.json").write_text(json.dumps(config))
        with d.terminal("claude-proxy", "env") as t:
            seen = t.expect("--show-key")
            assert t.wait() == 0
            assert "sesame" not in seen and "<the value of `ak`>" in seen and 'eval "$(claude-proxy env)"' in seen, seen
        with d.terminal("claude-proxy", "env", "--show-key") as t:
            t.expect("export ANTHROPIC_AUTH_TOKEN=sesame-0123456789")
            assert t.wait() == 0


def shells_read_what_env_prints():
    odd = "it's a \\ \"$HOME\" `x` model"
    with Dir() as d:
        config = {"ak": odd, "providers": [{"base_url": "http://127.0.0.1:1", "api_key": "", "models": [{"id": odd}]}]}
        (d.work / "config.json").write_text(json.dumps(config))
        lines = {"bash": 'eval "$(claude-proxy env)"', "zsh": 'eval "$(claude-proxy env --shell zsh)"',
                 "dash": 'eval "$(claude-proxy env)"', "fish": "claude-proxy env --shell fish | source"}
        tried = 0
        for shell in filter(shutil.which, lines):
            script = f"{lines[shell]}; printenv ANTHROPIC_AUTH_TOKEN ANTHROPIC_MODEL"
            done = subprocess.run([shell, "-c", script], env=d.env, cwd=d.work, capture_output=True, text=True, timeout=30)
            assert done.stdout == f"{odd}\n{odd}\n", (shell, done)
            tried += 1
        assert tried, "no shell here"


# --- completion ---------------------------------------------------------------

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(claude-proxy completions bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source <(claude-proxy completions zsh)"),
    "fish": (["fish", "--no-config", "-i"], "claude-proxy completions fish | source"),
}


def completes_in(shell: str):
    def completes():
        if not shutil.which(shell):
            raise Skip(f"no {shell} here")
        argv, setup = SHELLS[shell]
        with Dir() as d:
            models = [{"id": "glm"}, {"id": "org/deep:seek"}]
            config = {"providers": [{"base_url": "http://127.0.0.1:1", "api_key": "${NOT_SET}", "models": models}]}
            (d.work / "config.json").write_text(json.dumps(config))
            for typed, whole in (("claude-proxy run --model gl", "claude-proxy run --model glm"),
                                 ("claude-proxy run --model=org", "claude-proxy run --model=org/deep:seek"),
                                 ("claude-proxy ping-upstream org/deep:", "claude-proxy ping-upstream org/deep:seek"),
                                 ("claude-proxy convert --profile minim", "claude-proxy convert --profile minimax"),
                                 ("claude-proxy models --config con", "claude-proxy models --config config.json"),
                                 ("claude-proxy check-c", "claude-proxy check-config")):
                with d.terminal(*argv, PS1="ready> ", ZDOTDIR=str(d.path)) as t:
                    t.send(setup + "; echo set''up\n")
                    t.expect("setup\n" if shell != "fish" else "setup")
                    # What the shell then has in its line is written to a file: screens differ.
                    t.send(typed + "\t")
                    t.pump(1)
                    while t.pump(0.5):
                        pass
                    t.send("\x01printf '%s\\n' \x05 > out.txt; echo do''ne\n")
                    t.expect("done\n" if shell != "fish" else "done")
                    got = " ".join((d.work / "out.txt").read_text().split())
                    assert got == whole, (typed, got)
                (d.work / "out.txt").unlink()
    completes.__name__ = f"completes_in_{shell}"
    return completes


# --- run ----------------------------------------------------------------------

def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as r:
            return r.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ctrl_c_reaches_the_command_once():
    script = "trap 'echo INTERRUPTED' INT; echo url=$ANTHROPIC_BASE_URL; read -r line; echo code=$line; exit $line"
    with Dir() as d, d.terminal("claude-proxy", "run", "-q", "--demo", "--", "bash", "-c", script) as t:
        url = t.expect("\n").split("url=")[1].strip()
        t.send(CTRL_C)
        t.expect("INTERRUPTED")
        t.pump(0.5)
        assert "INTERRUPTED" not in t.text(), "twice"
        assert is_up(url), "the proxy has gone before the command"
        t.send("9\n")
        t.expect("code=9")
        assert t.wait() == 9
        assert not is_up(url)
        assert "INFO" not in t.raw and "WARN" not in t.raw, t.raw


def ctrl_c_ends_a_command_that_lets_it():
    with Dir() as d, d.terminal("claude-proxy", "run", "-q", "--demo", "--", "bash", "-c", "echo here; exec sleep 600") as t:
        t.expect("here")
        t.send(CTRL_C)
        assert t.wait() == 130


def ctrl_z_and_fg():
    script = "echo url=$ANTHROPIC_BASE_URL; while read -r line; do echo got=$line; done"
    with Dir() as d, d.shell() as t:
        t.expect("ready> ")
        t.send(f"claude-proxy run -q --demo -- bash -c '{script}'\n")
        t.expect("\nurl=http")
        t.send(CTRL_Z)
        t.expect("Stopped")
        t.expect("ready> ")
        t.send("fg\n")
        t.expect("\n")
        t.send("one\n")
        t.expect("got=one")
        t.pump(0.5)
        t.send("two\n")                                 # it is not stopped a second time
        t.expect("got=two")
        t.send("\x04")
        t.expect("ready> ")
        t.send("exit\n")
        assert t.wait() == 0


def a_command_that_stops_itself_gives_the_shell_back():
    script = "echo before; kill -STOP $$; echo after; exit 4"
    with Dir() as d, d.shell() as t:
        t.expect("ready> ")
        t.send(f"claude-proxy run -q --demo -- bash -c '{script}'\n")
        t.expect("\nbefore")
        t.expect("Stopped")
        t.expect("ready> ")
        t.send("fg; echo code=$?\n")
        t.expect("\nafter")
        t.expect("code=4")
        t.send("exit\n")
        t.wait()


def the_log_is_named_and_stays_off_the_terminal():
    with Dir() as d, d.terminal("claude-proxy", "run", "--demo", "--", "bash", "-c",
                                "(exec 3<>/dev/tcp/127.0.0.1/${ANTHROPIC_BASE_URL##*:}; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3); echo do''ne") as t:
        seen = t.expect("done")
        assert t.wait() == 0
        path = next(w for w in seen.split() if w.endswith(".log"))
        assert path.startswith(f"{d.path}/.local/state/claude-proxy/run-"), path
        text = Path(path).read_text()
        assert " INFO " in text and " INFO " not in t.raw, (text, t.raw)
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


# --- colour -------------------------------------------------------------------

def a_terminal_that_is_closed_ends_serve():
    with Dir() as d, d.terminal("claude-proxy", "serve", "--demo", "--port", "0") as t:
        url = "http://" + t.expect(" with 1 model").split("http://")[1].split(" ")[0]
        os.kill(t.pid, signal.SIGHUP)
        t.expect("there is no configuration file to read again")
        assert is_up(url), "SIGHUP alone ends nothing"
        t.hang_up()
        assert t.wait() == 0
        assert not is_up(url)


def colour_is_as_asked():
    def coloured(*argv: str, terminal: bool = True, **env) -> bool:
        with Dir() as d:
            d.env.pop("NO_COLOR")
            config = {"prot": 1, "providers": [{"base_url": "http://127.0.0.1:1", "api_key": "", "models": [{"id": "m"}]}]}
            (d.work / "config.json").write_text(json.dumps(config))
            if terminal:
                with d.terminal("claude-proxy", *argv, **env) as t:
                    t.wait()
                    return bool(COLOUR.search(t.raw))
            done = subprocess.run(["claude-proxy", *argv], env={**d.env, **env}, cwd=d.work, capture_output=True, text=True)
            return bool(COLOUR.search(done.stdout + done.stderr))
    for argv in (["models"], ["check-config"], ["ping-upstream", "--timeout", "5"], ["demo"], ["models", "--help"], ["nonsense"],
                 ["serve", "--host", "192.0.2.1"], ["env", "--model", "x"]):
        assert coloured(*argv), argv
        assert not coloured(*argv, NO_COLOR="1"), argv
        assert not coloured("--color", "never", *argv), argv
        assert coloured("--color", "always", *argv, terminal=False, NO_COLOR="1"), argv
        assert not coloured(*argv, terminal=False), argv
        assert coloured(*argv, terminal=False, CLICOLOR_FORCE="1"), argv
        assert not coloured(*argv, TERM="dumb"), argv


TESTS = [
    init_asks_tries_and_writes, init_offers_the_usual_variable, init_asks_whether_a_model_that_fails_is_wanted,
    init_asks_nothing_with_yes, ctrl_c_at_a_question_shows_the_cursor_again,
    env_shows_no_key_on_a_terminal, shells_read_what_env_prints, *map(completes_in, SHELLS),
    ctrl_c_reaches_the_command_once, ctrl_c_ends_a_command_that_lets_it, ctrl_z_and_fg,
    a_command_that_stops_itself_gives_the_shell_back, the_log_is_named_and_stays_off_the_terminal, a_terminal_that_is_closed_ends_serve,
    colour_is_as_asked,
]


def main() -> int:
    wanted = sys.argv[1:]
    return run([test for test in TESTS if not wanted or test.__name__ in wanted])


if __name__ == "__main__":
    sys.exit(main())
