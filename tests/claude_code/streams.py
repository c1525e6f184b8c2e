"""Streams that die, dawdle, or are not wanted any more."""
from __future__ import annotations

import time
from pathlib import Path

from stage import results_of, scenario
from tools import loop
from upstream import Answer, call, chunk, either, error, sse, stream


def note(id: str, word: str) -> dict:
    """A call that leaves a trace each time it runs."""
    return call(id, "Bash", {"command": f"echo {word} >> runs.txt", "description": "Write down that this ran, and which it was"})


def runs(t) -> list[str]:
    path = Path(t.work) / "runs.txt"
    return path.read_text().split() if path.exists() else []


def dies(*whole_calls, half=None, text=None, end="cut") -> Answer:
    """Text, whole calls, half of one more call's arguments; then the connection ends."""
    a = stream(text=text, calls=whole_calls, done=False, end=end)
    if half:
        i, arguments = len(whole_calls), half["function"]["arguments"]
        for function in ({"name": half["function"]["name"], "arguments": ""}, {"arguments": arguments[:len(arguments) // 2]}):
            head = {"id": half["id"], "type": "function"} if "name" in function else {}
            a.parts.append(sse(chunk({"tool_calls": [{**head, "index": i, "function": function}]})))
    return a


@scenario
def dies_in_the_text(t):
    """No block was complete: asked again, shown once."""
    for end in ("cut", "reset"):
        t.up.play(dies(text=["Half an ", "answer"], end=end), either("A whole answer."))
        s = t.claude("Hello?")
        assert s.answer == "A whole answer." and [b["text"] for b in s.blocks("text")] == ["A whole answer."], s.stdout
        assert len(t.up.seen) == 2, len(t.up.seen)


@scenario
def dies_in_the_arguments(t):
    """Half a call never runs; asked again, the whole one runs once."""
    t.up.play(dies(half=note("call_half", "half")), loop(note("call_whole", "whole"), "It ran."))
    s = t.claude("Write it down.")
    assert s.answer == "It ran." and runs(t) == ["whole"], (s.result, runs(t))
    assert [b["id"] for b in s.blocks("tool_use")] == ["call_whole"], s.blocks("tool_use")
    assert "call_half" not in t.up.last.raw.decode() and list(results_of(t.up.last)) == ["call_whole"]


@scenario
def dies_in_the_arguments_after_text(t):
    """The text is complete and stays; the half call does not run; the model is asked to go on."""
    t.up.play(dies(text="I will write it down.", half=note("call_half", "half")), loop(note("call_whole", "whole"), "It ran."))
    s = t.claude("Write it down.")
    assert s.answer == "It ran." and runs(t) == ["whole"], (s.result, runs(t))
    assert [b["id"] for b in s.blocks("tool_use")] == ["call_whole"]
    resumed = t.up.seen[1]
    assert {"role": "assistant", "content": "I will write it down."} in resumed.messages and "cut off" in resumed.raw.decode()
    assert "call_half" not in t.up.last.raw.decode()


@scenario
def dies_after_a_whole_call(t):
    """A call that was complete may run, once; the half one after it never does."""
    t.up.play(dies(note("call_first", "first"), half=note("call_half", "half")), loop("Never asked.", "Going on after the first."))
    s = t.claude("Write it down twice.")
    assert runs(t) in ([], ["first"]) and "call_half" not in [b["id"] for b in s.blocks("tool_use")], (runs(t), s.blocks("tool_use"))
    assert s.answer == ("Going on after the first." if runs(t) else "Never asked."), s.result
    assert "call_half" not in t.up.last.raw.decode()


@scenario
def dies_before_the_end_of_a_whole_call(t):
    """The arguments look complete, but nothing said so: the call does not run."""
    t.up.play(dies(note("call_first", "first")), loop("Not run, asked again."))
    s = t.claude("Write it down.")
    assert s.answer == "Not run, asked again." and runs(t) == [], (s.result, runs(t))


@scenario
def dies_after_the_thinking(t):
    """Only the thinking was complete: Claude Code asks the model to go on."""
    t.serve("deepseek")
    t.up.play(stream({"reasoning_content": "Let me see."}, text=["Half an ", "answer"], done=False, end="cut"), either("A whole answer."))
    s = t.claude("Hello?")
    assert s.answer == "A whole answer." and [b["text"] for b in s.blocks("text") if b["text"] == "A whole answer."], s.result
    assert len(t.up.seen) == 2, len(t.up.seen)


@scenario
def error_in_the_stream(t):
    t.up.play(Answer(headers={"content-type": "text/event-stream"}, parts=[
        sse(chunk({"role": "assistant", "content": "Half"})),
        sse({"error": {"message": "engine crashed", "type": "server_error", "code": 500}})]), either("A whole answer."))
    s = t.claude("Hello?")
    assert s.answer == "A whole answer." and len(t.up.seen) == 2, (s.result, len(t.up.seen))


@scenario
def error_in_the_stream_for_good(t):
    """It never gets better: the user reads the upstream's own words."""
    failing = Answer(headers={"content-type": "text/event-stream"}, parts=[
        sse(chunk({"role": "assistant", "content": "Half"})),
        sse({"error": {"message": "engine crashed on shard 7", "type": "server_error", "code": 500}})])
    t.up.play(lambda seen: failing if seen.body.get("stream") else error(500, "engine crashed on shard 7", "server_error"))
    s = t.claude("Hello?", fails=True)
    assert "engine crashed on shard 7" in s.answer, s.result


@scenario
def no_answer_at_all(t):
    t.up.play(Answer(end="none"), either("A whole answer."))
    s = t.claude("Hello?")
    assert s.answer == "A whole answer." and len(t.up.seen) == 2, (s.result, len(t.up.seen))


def dawdles(seconds: float, after: int = 2) -> Answer:
    """Falls silent once `after` parts are out; 2: in the middle of the text."""
    parts = stream(text=["Slow and ", "steady."]).parts

    def one_by_one():
        for i, part in enumerate(parts):
            if i == after:
                time.sleep(seconds)
            yield part
    return Answer(headers={"content-type": "text/event-stream"}, parts=one_by_one())


def slow(t, answer, pings: int, limit: float = 120, **config) -> None:
    """One request, one answer, so many pings meanwhile."""
    t.serve(**config)
    relay = t.relay()
    t.up.play(answer, either("Never asked."))
    s = t.claude("Hello?", url=relay.url, limit=limit)
    assert s.answer == "Slow and steady." and len(t.up.seen) == 1, (s.result, len(t.up.seen))
    seen = relay.seen[0].answer.count(b"event: ping")
    assert seen >= pings, f"{seen} pings where {pings} are expected"


@scenario
def silence_is_filled_with_pings(t):
    slow(t, dawdles(5), pings=3, ping_interval_seconds=1)


@scenario
def slow_head(t):
    """The upstream thinks before its status line: nothing is sent, nothing is lost, Claude Code waits."""
    answer = stream(text="Slow and steady.")
    answer.delay = 6
    slow(t, answer, pings=0, ping_interval_seconds=1)


@scenario(long=True)
def silent_for_a_minute(t):
    """With the settings that nobody changed: in the middle of the text, and before the first word."""
    slow(t, dawdles(60), pings=3)
    slow(t, dawdles(60, after=0), pings=2)


@scenario(long=True)
def slow_head_for_a_minute(t):
    answer = stream(text="Slow and steady.")
    answer.delay = 60
    slow(t, answer, pings=0)


@scenario(long=True)
def silent_for_longer_than_claude_code_waits(t):
    """300 s without a byte are its limit: pings carry it over."""
    slow(t, dawdles(330), pings=20, limit=420, stream_idle_timeout_seconds=400)


def interrupted(t, answer) -> float:
    """Ctrl-C in mid-answer; how long the upstream's connection lived on, in seconds."""
    t.up.play(answer)
    s = t.start("Hello?")
    deadline = time.monotonic() + 60
    while not t.up.seen and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    assert t.up.seen and t.up.seen[0].closed is None, "the upstream was not asked, or hung up on too early"
    at = s.interrupt()
    s.wait(30)
    while t.up.only.closed is None and time.monotonic() < at + 10:
        time.sleep(0.01)
    assert t.up.only.closed is not None, "the upstream's connection was still open 10 s after Ctrl-C"
    assert "[Request interrupted by user]" in [b["text"] for b in s.blocks("text")], s.stdout
    assert len(t.up.seen) == 1
    return t.up.only.closed - at


@scenario
def interrupt_cancels_upstream(t):
    """In mid-stream, and while nothing has come yet. The limit is generous, the figure is printed."""
    for what, answer in (("in the stream", stream(text="Half", done=False, end="hang")), ("before its head", Answer(end="hang"))):
        after = interrupted(t, answer)
        print(f"      Ctrl-C {what}: the upstream was cancelled after {after * 1000:.1f} ms")
        assert after < 2, after
