"""opencode, the agent on the command line, as its users run it: a configuration with a base URL."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import KEY
from upstream import call, either

INSTALLED = Path(os.environ["OPENCODE_DIR"]).resolve()      # by tests/run


@pytest.fixture(scope="session")
def executable():
    """The first of the platform's packages that runs here (one of them is for older processors)."""
    for path in sorted(INSTALLED.glob("node_modules/opencode-*/bin/opencode*")):
        try:
            if subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0:
                return path
        except OSError:
            continue
    pytest.fail("no executable of opencode that runs here")


@pytest.fixture
def opencode(executable, proxy, tmp_path, tmp_path_factory):
    """Runs a prompt in a project of its own: exit code and events."""
    config = {
        "autoupdate": False, "share": "disabled", "model": "proxy/plain", "small_model": "proxy/plain", "enabled_providers": ["proxy"],
        "permission": {"bash": "allow", "read": "allow"},
        "provider": {"proxy": {"npm": "@ai-sdk/anthropic", "name": "proxy", "options": {"baseURL": f"{proxy.url}/v1", "apiKey": KEY},
                               "models": {"plain": {"name": "Plain", "limit": {"context": 100000, "output": 4096}}}}},
    }
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "opencode.json").write_text(json.dumps(config))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "OPENCODE", "XDG_"))}
    env |= {"HOME": str(tmp_path_factory.mktemp("home")), "PWD": str(tmp_path), "OPENCODE_CONFIG": str(tmp_path / "opencode.json"), "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_LSP_DOWNLOAD": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1"}

    def run(prompt):
        done = subprocess.run([executable, "run", "--model", "proxy/plain", "--format", "json", prompt], cwd=tmp_path, env=env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        print(done.stdout, done.stderr)          # pytest shows it where a test fails
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return run


def of(events, type) -> list:
    return [e["part"] for e in events if e["type"] == type]


def agent_turns(up) -> list:
    """Without the request for a title."""
    return [s for s in up.seen if s.body.get("tools")]


def test_tool_loop(up, opencode, tmp_path):
    for name, text in (("a.txt", "one fish"), ("b.txt", "zwölf Füchse")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    calls = [call("c1", "bash", {"command": "echo hello-$((40+2))", "description": "Say it"}),
             *(call(f"r{n}", "read", {"filePath": str(tmp_path / n)}) for n in ("a.txt", "b.txt"))]

    def answer(seen):
        if not seen.body.get("tools"):
            return either("A title")(seen)
        if seen.roles[-1] == "user":
            return either("Let me look.", calls)(seen)
        return either("It said hello-42 ☔.")(seen)
    up.play(answer)
    code, events = opencode("Say it, and read both.")
    assert code == 0
    assert [p["text"] for p in of(events, "text")] == ["Let me look.", "It said hello-42 ☔."]
    tools = {p["callID"]: p["state"] for p in of(events, "tool_use")}
    assert [tools[c["id"]]["status"] for c in calls] == ["completed"] * 3
    assert tools["c1"]["output"] == "hello-42\n"
    assert [p["reason"] for p in of(events, "step_finish")] == ["tool-calls", "stop"]
    assert [p["tokens"]["input"] for p in of(events, "step_finish")] == [20, 20]
    first, second = agent_turns(up)
    assert first.body["model"] == "remote-plain" and first.body["stream"] is True
    assert {"bash", "read", "edit", "write"} <= {t["function"]["name"] for t in first.body["tools"]}
    assert first.roles == ["system", "user"] and "Say it, and read both." in json.dumps(first.messages[1])
    assert second.messages[:2] == first.messages
    assert second.roles[2:] == ["assistant", "tool", "tool", "tool"]
    assert second.messages[2]["content"] == "Let me look."
    assert [c["function"]["name"] for c in second.messages[2]["tool_calls"]] == ["bash", "read", "read"]
    said = {m["tool_call_id"]: m["content"] for m in second.messages[3:]}
    assert "hello-42" in said["c1"] and "one fish" in said["ra.txt"] and "zwölf Füchse" in said["rb.txt"]
