#!/usr/bin/env python3
"""Real Claude Code sessions, headless, through the built binary.

usage: run.py CLAUDE-EXECUTABLE [--show]       the binary: $CLAUDE_PROXY_BIN
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from proxy import KEY, Proxy, provider  # noqa: E402
from upstream import Upstream, call, either, error  # noqa: E402

CLAUDE, SHOW = os.path.abspath(sys.argv[1]), "--show" in sys.argv


class Session:
    """One `claude -p`: its stream-json lines, in a home and a folder of its own."""

    def __init__(self, url: str, model: str, prompt: str, files: dict | None = None, key: str = "none",
                 fails: bool = False) -> None:
        with tempfile.TemporaryDirectory(prefix="claude-code-home-") as home, \
                tempfile.TemporaryDirectory(prefix="claude-code-work-") as work:
            for name, text in (files or {}).items():
                (Path(work) / name).write_text(text)
            env = {
                "PATH": os.environ["PATH"], "HOME": home, "IS_SANDBOX": "1", "NO_COLOR": "1",
                "ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "CLAUDE_CODE_MAX_RETRIES": "1", "DISABLE_AUTOUPDATER": "1",
                **{f"ANTHROPIC_DEFAULT_{m}_MODEL": model for m in ("OPUS", "SONNET", "HAIKU")},
            }
            p = subprocess.run(
                [CLAUDE, "-p", prompt.replace("{work}", work), "--model", model, "--output-format", "stream-json", "--verbose",
                 "--permission-mode", "bypassPermissions"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, cwd=work, env=env)
        self.work, self.code, self.stderr = work, p.returncode, p.stderr
        self.lines = [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]
        if SHOW:
            print(f"--- {prompt}\n{p.stdout}\n{p.stderr}")
        self.result = next((e for e in self.lines if e.get("type") == "result"), {})
        assert (self.code, self.result.get("is_error")) == ((1, True) if fails else (0, False)), \
            f"exit code {self.code}, result {json.dumps(self.result)[:600]}, stderr {p.stderr[-600:]}"

    def blocks(self, kind: str) -> list:
        return [b for e in self.lines if isinstance(e.get("message"), dict) and isinstance(e["message"].get("content"), list)
                for b in e["message"]["content"] if b.get("type") == kind]


def text_of(content) -> str:
    return content if isinstance(content, str) else "".join(b.get("text", "") for b in content)


def plain_answer():
    up = Upstream()
    up.play(either("The answer is forty-two."))
    config = {"ak": KEY, "providers": [provider(up.url, {"id": "glm-test"}, profile="generic")]}
    with Proxy(config) as proxy:
        s = Session(proxy.url, "glm-test", "What is six times seven?", key=KEY)
    assert s.result["result"] == "The answer is forty-two.", s.result
    assert s.result["usage"]["input_tokens"] == 20 and s.result["usage"]["output_tokens"] == 5, s.result["usage"]
    main = next(r for r in up.seen if r.body.get("tools"))
    assert main.body["model"] == "glm-test" and main.body["stream"] is True
    sent = main.raw.decode()
    assert "six times seven" in sent and "x-anthropic-billing-header" not in sent
    assert main.headers["authorization"].endswith("77aa") and KEY not in sent + str(main.headers)
    assert {"Bash", "Read"} <= {t["function"]["name"] for t in main.body["tools"]}


def two_reads_at_once():
    up = Upstream()
    files = {"one.txt": "contents-of-the-first-file\n", "two.txt": "contents-of-the-second-file\n"}

    def answer(seen):
        results = [m for m in seen.messages if m["role"] == "tool"]
        if results or not seen.body.get("tools"):
            return either("Both files were read.")(seen)
        work = next(w for w in seen.raw.decode().split("FOLDER=")[1].split(" ") if w)
        return either(None, [call("call_one", "Read", {"file_path": f"{work}/one.txt"}),
                             call("call_two", "Read", {"file_path": f"{work}/two.txt"})])(seen)
    up.play(answer)
    config = {"ak": KEY, "providers": [provider(up.url, {"id": "glm-test"}, profile="generic")]}
    with Proxy(config) as proxy:
        s = Session(proxy.url, "glm-test", "Read both files in FOLDER={work} please.", files, key=KEY)
    assert [(b["id"], b["name"]) for b in s.blocks("tool_use")] == [("call_one", "Read"), ("call_two", "Read")]
    assert s.result["result"] == "Both files were read." and s.result["num_turns"] >= 2, s.result
    last = next(r for r in reversed(up.seen) if any(m["role"] == "tool" for m in r.messages))
    results = [(m["tool_call_id"], text_of(m["content"])) for m in last.messages if m["role"] == "tool"]
    assert [id for id, _ in results] == ["call_one", "call_two"], results
    assert "contents-of-the-first-file" in results[0][1] and "contents-of-the-second-file" in results[1][1], results
    at = last.roles.index("tool")
    assert [c["id"] for c in last.messages[at - 1]["tool_calls"]] == ["call_one", "call_two"]


def bash_against_the_demo():
    with Proxy(None, "--demo") as proxy:
        s = Session(proxy.url, "demo", "Run a Bash command that prints a greeting, then tell me what it printed.")
        uses, results = s.blocks("tool_use"), s.blocks("tool_result")
        assert uses and uses[0]["name"] == "Bash" and uses[0]["input"].get("command"), uses
        assert results and results[0]["tool_use_id"] == uses[0]["id"] and not results[0].get("is_error"), results
        assert text_of(results[0]["content"]).strip(), results
        assert s.result["subtype"] == "success" and s.result["result"].strip() and s.result["num_turns"] >= 2, s.result
        assert proxy.stop() == 0, f"the proxy ended with {proxy.proc.returncode}: {proxy.text()[-800:]}"


def error_in_the_upstreams_words():
    """What the user reads when the upstream says no."""
    up = Upstream()
    up.play(error(403, "your plan does not include this model", "permission_error"))
    config = {"ak": KEY, "providers": [provider(up.url, {"id": "glm-test"}, profile="generic")]}
    with Proxy(config) as proxy:
        s = Session(proxy.url, "glm-test", "Hello?", key=KEY, fails=True)
    assert "your plan does not include this model" in s.result["result"], s.result
    assert s.result["api_error_status"] == 403 and len(up.seen) == 1, (s.result, len(up.seen))


def main() -> int:
    print(subprocess.run([CLAUDE, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout.strip())
    passed = failed = 0
    for session in (plain_answer, two_reads_at_once, bash_against_the_demo, error_in_the_upstreams_words):
        try:
            session()
            passed += 1
            print(f"pass  {session.__name__}")
        except Exception as e:
            failed += 1
            print(f"FAIL  {session.__name__}: {type(e).__name__}: {e}")
            if not isinstance(e, AssertionError):
                traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
