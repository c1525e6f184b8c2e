#!/usr/bin/env python3
"""A real Prometheus scrapes the built binary: it has to say what the clients counted.

The binary: $CLAUDE_PROXY_BIN. `prometheus` and `promtool`: on the $PATH or below .cache/debian.
"""
from __future__ import annotations

import collections
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
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))

from checks import run  # noqa: E402
from proxy import KEY, Proxy, free_port, provider  # noqa: E402
from upstream import Upstream, call, error, stream, usage, whole  # noqa: E402

CONTRIB = ROOT / "contrib"
PATIENCE = 30
USE = usage(prompt=70, completion=5, cached=30)
PRICE = {"input": 3, "output": 15, "cached": 0.3}         # for a million tokens


def tool(name: str) -> str:
    at = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ROOT}/.cache/debian/usr/bin")
    return at or sys.exit(f"no {name} (Debian, Ubuntu: apt-get install prometheus)")


def eventually(what: str, so):
    until = time.monotonic() + PATIENCE
    while not (got := so()):
        assert time.monotonic() < until, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)
    return got


# --- the upstream: it does what the last message says -------------------------------------------


def obey(seen):
    streamed = bool(seen.body.get("stream"))
    answer = stream if streamed else whole
    word = seen.messages[-1]["content"]
    word = word if isinstance(word, str) else word[-1]["text"]
    if word.isdigit():
        return error(int(word), headers={"retry-after": "600"})
    if word == "cut":
        return stream(text="one", done=False, end="cut")
    if word == "hang":
        return stream(text="one", done=False, end="hang")
    if word == "mute":
        return stream(end="hang", done=False)
    if word == "tool":
        return answer(calls=[call("call_1", "look", {"at": "it"})], use=USE)
    if word == "long":
        return answer(text="and so on", finish="length", use=USE)
    return answer(text="Hello there", use=USE)


# --- the clients: they count ---------------------------------------------------------------------

TEAM = "test-team-key-7a1e"
KEYS = {KEY: "ak", TEAM: "team"}


class Counts:
    """What clients saw, in the labels of the metrics."""

    def __init__(self) -> None:
        self.ended, self.tokens, self.losses = (collections.Counter() for _ in range(3))
        self.keys: collections.Counter = collections.Counter()
        self.received, self.sent, self.first_tokens = (collections.Counter() for _ in range(3))

    def count(self, model, status, outcome, reason, body=b"", answer=b"", tokens=None, warnings="", first=False):
        who = "unknown" if model == "unknown" else "up" if model in ("m", "n", "priced") else "nobody"
        self.ended[(model, who, str(status), outcome, reason or "none")] += 1
        self.received[model] += len(body)
        self.sent[model] += len(answer)
        self.first_tokens[model] += first
        for kind, n in (tokens or {}).items():
            self.tokens[(model, kind)] += n
        self.losses.update(t for t in warnings.split(", ") if t)


def request(model, word, streamed, **more) -> bytes:
    tools = [{"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}]
    return json.dumps({"model": model, "max_tokens": 64, "stream": streamed, "tools": tools,
                       "messages": [{"role": "user", "content": word}], **more}).encode()


def kinds(use: dict) -> dict:
    return {"input": use["input_tokens"], "output": use["output_tokens"], "cache_read": use.get("cache_read_input_tokens") or 0}


def ask(proxy, counts, model, word, streamed, answers_as=None, key=KEY, **more) -> int:
    """Sends one request, reads all of its answer, and counts it for the model that has to answer."""
    body = request(model, word, streamed, **more)
    conn = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)
    conn.request("POST", "/v1/messages", body, {"x-api-key": key, "content-type": "application/json", "anthropic-version": "2023-06-01"})
    answer = conn.getresponse()
    got, warnings = answer.read(), answer.getheader("x-claude-proxy-warnings") or ""
    conn.close()
    model = answers_as or model
    counts.keys[KEYS[key]] += 1
    if answer.status != 200:
        counts.count(model, answer.status, "refused", None, body, got, None, warnings)
    elif not streamed:
        message = json.loads(got)
        counts.count(model, 200, "done", message["stop_reason"], body, got, kinds(message["usage"]), warnings)
    else:
        events = [json.loads(line[6:]) for line in got.decode().splitlines() if line.startswith("data: ")]
        first = any(e["type"] == "content_block_delta" for e in events)
        if events[-1]["type"] == "message_stop":
            end = next(e for e in events if e["type"] == "message_delta")
            counts.count(model, 200, "done", end["delta"]["stop_reason"], body, got, kinds(end["usage"]), warnings, first)
        else:
            assert events[-1]["type"] == "error", events[-1]
            counts.count(model, 200, "failed", None, body, got, None, warnings, first)
    return answer.status


class Leaving:
    """A client that begins, and leaves."""

    def __init__(self, proxy, word: str) -> None:
        self.body = request("n", word, True)
        self.socket = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        head = f"POST /v1/messages HTTP/1.1\r\nhost: p\r\nx-api-key: {KEY}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        self.socket.sendall(head.encode() + self.body)

    def until(self, word: bytes) -> None:
        got = b""
        while word not in got:
            more = self.socket.recv(65536)
            assert more, got
            got += more

    def leave(self) -> None:
        self.socket.close()


# --- Prometheus ----------------------------------------------------------------------------------


class Prometheus:
    """With the files of contrib/, and a scrape each second."""

    def __init__(self, proxy, folder: Path) -> None:
        shutil.copytree(CONTRIB / "prometheus", folder / "etc")
        self.config, self.key = folder / "etc/prometheus.yml", folder / "key"
        self.key.write_text(KEY)
        wrong = folder / "wrong"
        wrong.write_text("not-the-key")
        text = self.config.read_text()
        for old, new in (("127.0.0.1:8888", f"127.0.0.1:{proxy.port}"), ("/etc/prometheus/claude-proxy-key", str(self.key)),
                         ("scrape_interval: 15s", "scrape_interval: 1s"), ("evaluation_interval: 15s", "evaluation_interval: 1s")):
            assert text.count(old) == 1, f"contrib/prometheus/prometheus.yml has no {old}"
            text = text.replace(old, new)
        text += f"""
  - job_name: without-the-key
    authorization: {{credentials_file: {wrong}}}
    static_configs: [{{targets: ["127.0.0.1:{proxy.port}"]}}]
"""
        self.config.write_text(text)
        self.port, self.log = free_port(), folder / "prometheus.txt"
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(
                [tool("prometheus"), f"--config.file={self.config}", f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def api(self, path: str, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                got = json.load(answer)
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{path} {query}: {e.read().decode()}") from None
        assert got["status"] == "success" and not got.get("warnings"), (query, got)
        return got["data"]

    def is_up(self) -> bool:
        if self.proc.poll() is not None:
            sys.exit(f"prometheus exited with {self.proc.returncode}: {self.log.read_text()[-2000:]}")
        try:
            return self.query('up{job="claude-proxy"}') == {(): 1}
        except (OSError, AssertionError):
            return False                  # it begins

    def query(self, expression: str, *labels: str) -> dict:
        """The values of an instant query, by some labels."""
        found = self.api("query", query=expression)["result"]
        return {tuple(r["metric"][label] for label in labels): float(r["value"][1]) for r in found}

    def stop(self) -> None:
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


class Stage:
    """Everything, after the clients are done and the last scrape has seen it."""

    def __init__(self, proxy, upstream, folder: Path) -> None:
        self.proxy, self.upstream, self.counts = proxy, upstream, Counts()
        self.prometheus = Prometheus(proxy, folder)
        self.began = time.time()

    def traffic(self) -> None:
        ask_ = lambda *args, **more: ask(self.proxy, self.counts, *args, **more)  # noqa: E731
        prometheus, counts = self.prometheus, self.counts
        for word, streamed, times in (("hi", True, 6), ("hi", False, 4), ("tool", True, 3), ("tool", False, 2), ("long", True, 2),
                                      ("long", False, 1), ("cut", True, 2), ("400", True, 2), ("404", False, 1)):
            for _ in range(times):
                ask_("m", word, streamed)
        ask_("n", "hi", True)
        assert ask_("m", "hi", True, top_k=5, top_p=0.5) == 200
        for streamed in (True, False):
            assert ask_("no-such-model", "hi", streamed, answers_as="unknown") == 404
        # Nobody listens there: its fallback answers, and the one without gives up until the provider rests.
        assert ask_("dead", "hi", True, answers_as="m") == 200
        for _ in range(6):
            assert ask_("alone", "hi", False) == 502
        # A key that is refused: the other one answers, and the first one rests.
        assert ask_("m", "429", False) == 429
        # The last one finds its budget used up.
        for streamed in (True, False):
            assert ask_("priced", "hi", streamed, key=TEAM) == 200
        assert ask_("priced", "hi", True, answers_as="unknown", key=TEAM) == 429
        leaving = [Leaving(self.proxy, "hang"), Leaving(self.proxy, "hang")]
        for client in leaving:
            client.until(b"one")
        self.in_flight = eventually("two streams are seen", lambda: [
            v for v in [prometheus.query("sum(claude_proxy_streams_in_flight)").get(())] if v == 2])
        before = len(self.upstream.seen)
        leaving.append(Leaving(self.proxy, "mute"))
        eventually("the third has come", lambda: len(self.upstream.seen) > before)
        leaving[2].until(b"message_start")
        for client in leaving:
            client.leave()
        counts.ended[("n", "up", "200", "client_gone", "none")] += 3
        counts.keys["ak"] += 3
        counts.received["n"] += sum(len(client.body) for client in leaving)
        counts.first_tokens["n"] += 2
        total = sum(counts.ended.values())
        self.ended = 'claude_proxy_requests_total{job="claude-proxy"}'
        eventually(f"{total} requests are seen", lambda: prometheus.query(f"sum({self.ended})").get(()) == total)


# --- the checks ----------------------------------------------------------------------------------


def scraped_with_the_key_alone(s):
    assert s.prometheus.query("up", "job") == {("claude-proxy",): 1, ("without-the-key",): 0}
    targets = s.prometheus.api("targets")["activeTargets"]
    told = {t["labels"]["job"]: t["lastError"] for t in targets}
    assert told["claude-proxy"] == "" and "401" in told["without-the-key"], told


def requests_are_those_that_were_sent(s):
    got = s.prometheus.query(f"{s.ended} > 0", "model", "provider", "status", "outcome", "stop_reason")
    assert got == dict(s.counts.ended), f"\n  Prometheus {sorted(got.items())}\n  clients {sorted(s.counts.ended.items())}"
    assert {"done", "refused", "failed", "client_gone"} == {outcome for *_, outcome, _ in got}
    assert {"end_turn", "tool_use", "max_tokens", "none"} == {reason for *_, reason in got}


def durations_are_as_many_as_requests(s):
    got = s.prometheus.query("sum by (model, outcome) (claude_proxy_request_duration_seconds_count) > 0", "model", "outcome")
    want = collections.Counter()
    for (model, _, _, outcome, _), n in s.counts.ended.items():
        want[(model, outcome)] += n
    assert got == dict(want), (got, want)


def tokens_are_those_that_were_told(s):
    got = s.prometheus.query("sum by (model, kind) (claude_proxy_tokens_total) > 0", "model", "kind")
    want = {k: v for k, v in s.counts.tokens.items() if v}
    assert got == want and got[("m", "cache_read")] > 0, (got, want)


def bytes_are_those_on_the_wire(s):
    for metric, want in (("request", s.counts.received), ("response", s.counts.sent)):
        got = s.prometheus.query(f"sum by (model) (claude_proxy_{metric}_body_bytes_total)", "model")
        for model in ("m", "alone") if metric == "response" else ("m", "n", "alone"):
            assert got[(model,)] == want[model], (metric, model, got, want)


def first_tokens_are_those_of_streams(s):
    got = s.prometheus.query("sum by (model) (claude_proxy_first_token_seconds_count) > 0", "model")
    assert got == {(m,): n for m, n in s.counts.first_tokens.items() if n}, (got, s.counts.first_tokens)


def own_share_is_a_part_of_the_time(s):
    each = s.prometheus.query('sum by (part) (claude_proxy_own_seconds_count{model="m"})', "part")
    of_m = sum(n for (model, *_), n in s.counts.ended.items() if model == "m")
    begun = sum(n for (model, _, status, *_), n in s.counts.ended.items() if model == "m" and status == "200")
    assert each == {("request",): of_m, ("answer",): begun}, (each, of_m, begun)
    share = s.prometheus.query("sum(claude_proxy_own_seconds_sum) / sum(claude_proxy_request_duration_seconds_sum)")[()]
    assert 0 < share < 1, share


def attempts_are_those_that_came(s):
    got = s.prometheus.query('sum by (provider) (claude_proxy_upstream_attempts_total)', "provider")
    assert got[("up",)] == len(s.upstream.seen), (got, len(s.upstream.seen))
    faults = s.prometheus.query("sum by (provider, stage) (claude_proxy_upstream_faults_total) > 0", "provider", "stage")
    assert faults == {("up", "body"): 2, ("nobody", "connect"): got[("nobody",)]}, faults
    assert s.prometheus.query("sum by (model) (claude_proxy_fallbacks_total) > 0", "model") == {("dead",): 1}
    # Two keys, each refused once, and the provider that is not there.
    rests = s.prometheus.query("sum by (provider, scope) (claude_proxy_upstream_rests_total) > 0", "provider", "scope")
    assert rests == {("up", "key"): 2, ("nobody", "provider"): 1}, rests
    assert s.prometheus.query("sum(claude_proxy_key_rotations_total)") == {(): 1}
    assert s.prometheus.query("claude_proxy_upstream_resting", "provider") == {("up",): 0, ("nobody",): 1}


def losses_are_those_of_the_header(s):
    got = s.prometheus.query("sum by (loss) (claude_proxy_conversion_losses_total) > 0", "loss")
    assert got == {(loss,): n for loss, n in s.counts.losses.items()} and got, (got, s.counts.losses)


def costs_are_those_of_the_tokens(s):
    tokens = {kind: s.counts.tokens[("priced", kind)] for kind in ("input", "output", "cache_read")}
    want = sum(n * PRICE[kind] for n, kind in ((tokens["input"], "input"), (tokens["output"], "output"), (tokens["cache_read"], "cached"))) / 1e6
    assert want > 0
    for query in ('sum(claude_proxy_cost_total{model="priced"})', 'sum(claude_proxy_key_cost_total{key="team"})'):
        got = s.prometheus.query(query)[()]
        assert abs(got - want) < 1e-9, (query, got, want)
    assert s.prometheus.query("claude_proxy_budget_refusals_total > 0", "key") == {("team",): 1}
    assert s.prometheus.query("claude_proxy_key_requests_total", "key") == {(k,): n for k, n in s.counts.keys.items()}


def streams_in_flight_were_seen(s):
    assert s.in_flight == [2], s.in_flight
    assert s.prometheus.query("sum(claude_proxy_streams_in_flight)") == {(): 0}


def the_build_is_named(s):
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert s.prometheus.query("claude_proxy_build_info", "version") == {(version,): 1}


def promtool(*args, **more):
    done = subprocess.run([tool("promtool"), *args], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"promtool {' '.join(map(str, args))}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def promtool_check_metrics_is_clean(s):
    asked = urllib.request.Request(f"{s.proxy.url}/metrics", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(asked) as answer:
        text = answer.read().decode()
    said = promtool("check", "metrics", input=text)
    assert not said.strip(), said


def promtool_check_config_is_clean(s):
    said = promtool("check", "config", s.prometheus.config)
    assert "WARN" not in said.upper(), said


def promtool_check_and_test_rules(s):
    said = promtool("check", "rules", CONTRIB / "prometheus/alerts.yml")
    alerts = re.findall(r"- alert: (\w+)", (CONTRIB / "prometheus/alerts.yml").read_text())
    assert f"{len(alerts)} rules found" in said, said
    promtool("test", "rules", CONTRIB / "prometheus/alerts_test.yml")
    # Each alert has a case in which it fires.
    cases = (CONTRIB / "prometheus/alerts_test.yml").read_text()
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n +exp_alerts:\n", cases), f"{alert} has no case in which it fires"


def rules_are_evaluated(s):
    def all_of_them():
        [group] = s.prometheus.api("rules")["groups"]
        return [r for r in group["rules"] if all(r["health"] == "ok" for r in group["rules"])]
    rules = eventually("all alerts are evaluated", all_of_them)
    assert {r["lastError"] if "lastError" in r else "" for r in rules} == {""}, rules
    def firing():
        [group] = s.prometheus.api("rules")["groups"]
        return [r["name"] for r in group["rules"] if r["state"] == "firing"]
    # The others need more requests, or more time.
    assert eventually("an alert fires", firing) == ["ClaudeProxyBudgetUsedUp"], firing()


def filled(expression: str) -> str:
    out = expression.replace("$__rate_interval", "1m").replace("$__interval", "15s")
    out = re.sub(r"\$(instance|model|provider)\b", ".*", out)
    assert "$" not in out, f"unknown variable: {expression}"
    return out


def the_dashboard_has_data(s):
    dashboard = json.loads((CONTRIB / "grafana.json").read_text())
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    empty, asked = [], 0
    for panel in panels:
        for target in panel["targets"]:
            got = s.prometheus.api("query_range", query=filled(target["expr"]), start=s.began, end=time.time(), step=1)["result"]
            asked += 1
            if not any(value != "NaN" for series in got for _, value in series["values"]):
                empty.append(f"{panel['title']}: {target['expr']}")
    assert asked > 40 and not empty, "no data:\n  " + "\n  ".join(empty)
    for annotation in dashboard["annotations"]["list"]:
        s.prometheus.api("query_range", query=filled(annotation["expr"]), start=s.began, end=time.time(), step=1)


def the_dashboard_offers_choices(s):
    found = {}
    for variable in json.loads((CONTRIB / "grafana.json").read_text())["templating"]["list"]:
        if variable["type"] != "query":
            continue
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        found[variable["name"]] = s.prometheus.api(f"label/{label}/values", **{"match[]": filled(series)})
    assert found == {"instance": [f"127.0.0.1:{s.proxy.port}"], "model": ["alone", "dead", "m", "n", "priced", "unknown"],
                     "provider": ["nobody", "unknown", "up"]}, found


def queries_of_the_docs_are_answered(s):
    text = (ROOT / "docs/metrics.md").read_text().split("## Questions and their queries")[1]
    queries = re.findall(r"^\| [^|]+ \| `(.+)` \|$", text, re.M)
    assert len(queries) > 8
    for query in queries:
        s.prometheus.api("query", query=query.replace(r"\|", "|"))


CHECKS = [
    scraped_with_the_key_alone, requests_are_those_that_were_sent, durations_are_as_many_as_requests, tokens_are_those_that_were_told,
    bytes_are_those_on_the_wire, first_tokens_are_those_of_streams, own_share_is_a_part_of_the_time, attempts_are_those_that_came,
    losses_are_those_of_the_header, costs_are_those_of_the_tokens, streams_in_flight_were_seen, the_build_is_named, promtool_check_metrics_is_clean,
    promtool_check_config_is_clean, promtool_check_and_test_rules, rules_are_evaluated, the_dashboard_has_data,
    the_dashboard_offers_choices, queries_of_the_docs_are_answered,
]


def main() -> int:
    upstream = Upstream()
    upstream.play(obey)
    up = provider(upstream.url, {"id": "m"}, {"id": "n"}, {"id": "priced", "price": PRICE}, name="up", profile="generic")
    del up["api_key"]
    up["api_keys"] = ["sk-first-0123456789", "sk-second-0123456789"]
    nobody = provider(f"http://127.0.0.1:{free_port()}", {"id": "dead", "fallbacks": ["m"]}, {"id": "alone"}, name="nobody", profile="generic")
    with tempfile.TemporaryDirectory(prefix="claude-proxy-prometheus-") as folder, Proxy({
            "host": "127.0.0.1", "ak": KEY, "workers": 2, "providers": [up, nobody], "keys": [{"name": "team", "key": TEAM, "budget": 0.0003}],
            "budgets": {"path": f"{folder}/spent.redb"}}) as proxy:
        stage = Stage(proxy, upstream, Path(folder))
        try:
            eventually("Prometheus has scraped", stage.prometheus.is_up)
            stage.traffic()
            return run(CHECKS, stage)
        finally:
            stage.prometheus.stop()
            upstream.stop()


if __name__ == "__main__":
    sys.exit(main())
