"""A session that grows until it compacts, with the environment that `env` prints, never reaches the upstream's limit."""
from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

from overflow import SUMMARY
from stage import KEY, MODEL, Proxy, binary, provider, scenario, text_of
from upstream import Seen, call, either, error, usage

# A tokenizer of its own, neither bytes / 4 nor o200k.
TOKEN = re.compile(r" ?[A-Za-z]{1,9}| ?\d{1,3}| ?[^\sA-Za-z\d]+|\s+")
WORDS = ("the value index count return struct match error buffer window request answer header stream token parse field limit config "
         "model prompt client server socket").split()


def tokens(seen: Seen) -> int:
    """What the prompt counts upstream."""
    def strings(value) -> int:
        if isinstance(value, str):
            return len(TOKEN.findall(value))
        if isinstance(value, dict):
            return sum(strings(k) + 1 + strings(v) for k, v in value.items())
        return sum(map(strings, value)) if isinstance(value, list) else 1
    return sum(4 + strings({k: v for k, v in m.items() if k != "role"}) for m in seen.messages) + strings(seen.body.get("tools") or [])


class Windowed:
    """An upstream with a window, and a model that reads file after file until it has been made to compact often enough."""

    def __init__(self, t, window: int, reads: int, *, compactions: int, at_once=lambda n: 1, cuts: bool = False, tells: bool = True,
                 turns=()) -> None:
        self.t, self.window, self.compactions, self.at_once, self.cuts = t, window, compactions, at_once, cuts
        self.tells, self.turns = tells, list(turns)                # after so many reads in all it stops, and the user has to go on
        self.kinds, self.sizes, self.over, self.asked = [], [], [], 0
        self.reads, self.random = reads, random.Random(window)

    def file(self) -> str:
        """One more file to read, of `reads` tokens by our count."""
        line = lambda n: f"{self.random.choice(WORDS)}_{n} = {' '.join(self.random.choices(WORDS, k=9))};\n"
        lines, size = [], 0
        while size < self.reads:
            lines.append(line(len(lines)))
            size += len(TOKEN.findall(lines[-1]))
        self.asked += 1
        return self.t.file(f"part{self.asked}.txt", "".join(lines))

    def __call__(self, seen: Seen):
        size, most = tokens(seen), seen.body["max_tokens"]
        asked = text_of(seen.messages[-1]["content"])
        compacts = "<summary>" in asked and "TEXT ONLY" in asked
        self.kinds.append("compact" if compacts else "read" if seen.body.get("tools") else "side")
        self.sizes.append((size, most))
        if size + most > self.window and not self.cuts:
            self.over.append((size, most))
            return error(400, f"This model's maximum context length is {self.window} tokens. However, you requested {most} output tokens "
                         f"and your prompt contains at least {size} input tokens, for a total of at least {size + most} tokens. Please "
                         "reduce the length of the input prompt or the number of requested output tokens.", "BadRequestError", code=400)
        if size > self.window:
            self.over.append((size, most))      # and what is cut is not told
        use = self.tells and usage(min(size, self.window), 300)
        if compacts:
            return either(f"<analysis>Reads.</analysis>\n<summary>{SUMMARY}</summary>", use=use)(seen)
        if self.kinds[-1] == "side":
            return either("A title", use=use)(seen)
        if self.kinds.count("compact") >= self.compactions:
            return either("All is read.", use=use)(seen)
        if self.turns and self.asked >= self.turns[0]:
            self.turns.pop(0)
            return either("So far so good.", use=use)(seen)
        assert self.asked < 400, "it never compacts"
        return either(None, [call(f"call_{len(self.kinds)}_{i}", "Read", {"file_path": self.file()})
                             for i in range(self.at_once(self.asked))], use=use)(seen)


def environment(t) -> dict:
    """What `claude-proxy env` prints."""
    config = Path(t.proxy.dir.name) / "config.json"
    out = subprocess.run([binary(), "env", "--shell", "bash", "--config", str(config)], capture_output=True, text=True, check=True).stdout
    return dict(line.removeprefix("export ").split("=", 1) for line in out.splitlines())


def grows(t, window: int, reads: int, *, model: str = MODEL, **how) -> Windowed:
    t.serve("vllm", model={"context_window": window})
    up = Windowed(t, window, reads, **how)
    t.up.play(up)
    env = environment(t)
    s = t.claude("Read all files.", env=env, model=model, limit=300)
    told = s.result["modelUsage"]
    assert all(m["contextWindow"] == window for m in told.values()), told
    while s.answer == "So far so good.":
        s = t.claude("Go on.", "--resume", s.result["session_id"], env=env, model=model, limit=300)
    assert s.answer == "All is read.", (s.answer, up.kinds, up.sizes)
    assert up.kinds.count("compact") == up.compactions, up.kinds
    assert not up.over, f"{up.over} went beyond {window}; {list(zip(up.kinds, up.sizes))}"
    largest = max(size + most for size, most in up.sizes)
    assert largest <= window, largest
    # It has had most of the window: what the variables keep free is no more than what they say.
    output = int(env.get("CLAUDE_CODE_MAX_OUTPUT_TOKENS", 32000))
    full = max(size for size, _ in up.sizes)
    assert full >= window - min(output, 20000) - 13000 - 3 * reads, (full, window)
    return up


@scenario
def compacts_within_32k(t):
    grows(t, 32_768, 1000, compactions=2)


@scenario
def compacts_within_64k(t):
    """Over several turns, each a process of its own."""
    up = grows(t, 65_536, 4000, compactions=2, turns=(2, 4, 7))
    assert not up.turns, up.turns


@scenario
def compacts_within_128k(t):
    """With the model that Claude Code takes by itself, and two large results at once near the end."""
    grows(t, 131_072, 9000, model="default", compactions=1, at_once=lambda n: 2 if n > 6 else 1)


@scenario
def compacts_by_the_estimate(t):
    """An upstream that tells no usage: Claude Code counts with what the proxy estimates."""
    grows(t, 65_536, 4000, compactions=1, tells=False)


@scenario(long=True)
def compacts_within_200k(t):
    grows(t, 200_000, 9000, compactions=2)


@scenario(long=True)
def compacts_within_256k(t):
    grows(t, 262_144, 9000, compactions=2, turns=(5, 20))


@scenario
def refused_before_it_is_cut(t):
    """Ollama: cuts what does not fit and says nothing. Claude Code knows nothing of the window; the proxy does."""
    window = 100_000                            # after a compaction it reads up to 50,000 tokens of the files again
    t.serve("ollama", model={"context_window": window})
    up = Windowed(t, window, 8000, compactions=1, cuts=True)
    t.up.play(up)
    s = t.claude("Read all files.")
    assert s.answer == "All is read.", (s.answer, up.kinds, up.sizes)
    # What is not certain to be too long is asked: here up to an eighth, by the model's own count.
    assert window < max(size for size, _ in up.sizes) <= window * 9 // 8 + 1000, up.sizes
    assert up.kinds.count("compact") == 1 and "prompt is too long" in t.proxy.text(), (up.kinds, t.proxy.text()[-1500:])


@scenario
def goes_on_with_a_smaller_model(t):
    """The variables tell the window of the model that a session begins with. In a smaller one the upstream's refusal does it."""
    models = [{"id": MODEL, "context_window": 200_000}, {"id": "small", "context_window": 100_000}]
    t.proxy = t.enter(Proxy({"ak": KEY, "providers": [provider(t.up.url, *models, profile="vllm")]}))
    up = Windowed(t, 200_000, 9000, compactions=1, turns=(13,))
    t.up.play(up)
    env = environment(t)
    s = t.claude("Read all files.", env=env)
    assert s.answer == "So far so good." and up.sizes[-1][0] > 110_000, (s.answer, up.sizes)
    up.window = 100_000
    s = t.claude("Go on.", "--resume", s.result["session_id"], env={**env, "ANTHROPIC_MODEL": "small"}, model="small")
    assert s.answer == "All is read." and {r.body["model"] for r in t.up.seen} == {MODEL, "small"}, (s.answer, up.kinds, up.sizes)
    assert up.kinds[-1] == "read" and up.sizes[-1][0] < 100_000 and up.over, (up.kinds, up.sizes, up.over)
