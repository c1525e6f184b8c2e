#!/usr/bin/env python3
"""Many clients, two upstreams that do all that upstreams do wrong, for as long as you like.

    tests/soak/run.py [--seconds N] [--clients N] [--seed N] [--rate N]

Every request has to be accounted for: answered in full, told an error, or left by its client. What the
upstream had not said to its end must not look complete. Memory, descriptors and places have to come back.
$CLAUDE_PROXY_BIN is what runs (else the release build, else the debug one). Needs Linux (/proc).
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import plan as plans
from client import Client, Told

ROOT = Path(__file__).resolve().parents[2]
KEY = "soak-inbound-key-1"
SAMPLE = 10.0
IDLE = 5                          # stream_idle_timeout_seconds


def binary() -> str:
    built = [os.environ.get("CLAUDE_PROXY_BIN") or "", *(str(ROOT / f"target/{p}/claude-proxy") for p in ("release", "debug"))]
    return next((os.path.abspath(b) for b in built if b and os.access(b, os.X_OK)), None) or sys.exit("build it first: cargo build --release")


class Proxy:
    def __init__(self, ports: dict, where: Path, limit: int) -> None:
        self.exe, self.path, self.log = binary(), where / "config.json", where / "log.jsonl"
        self.ports, self.limit, self.generation = ports, limit, 0
        self.extras = [{"fallbacks": ["b"]}, {"keys": True}]
        self.extras = [extra for extra in self.extras if self.knows(extra)]
        self.write()

    def config(self, extras) -> dict:
        def provider(name):
            return {"name": f"up-{name}", "base_url": f"http://127.0.0.1:{self.ports[name]}", "api_key": f"sk-soak-{name}-0123456789",
                    "profile": "generic", "models": [{"id": name, "remote_id": f"remote-{name}"}]}
        out = {"ak": KEY, "host": "127.0.0.1", "port": 0, "workers": 2, "stream_idle_timeout_seconds": IDLE, "ping_interval_seconds": 1,
               "upstream_timeout_seconds": 20, "max_concurrent_requests": self.limit, "log_body_max_chars": 0,
               "log_stream_text_preview_chars": self.generation % 2 * 10, "providers": [provider("a"), provider("b")]}
        for extra in extras:
            a = out["providers"][0]
            if "keys" in extra:
                del a["api_key"]
                a["api_keys"] = ["sk-soak-first-0123456789", "sk-soak-second-0123456789"]
            else:
                a["models"][0] |= extra
        return out

    def knows(self, extra) -> bool:
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(self.config([extra])))
        return subprocess.run([self.exe, "check-config", "--quiet", self.path], capture_output=True).returncode == 0

    def write(self) -> None:
        new = self.path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(self.config(self.extras) | ({"port": self.port} if self.generation else {})))
        new.rename(self.path)

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.exe, "serve", "--config", str(self.path), "--log-format", "json", "--quiet", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=open(self.log, "wb"))
        until = time.monotonic() + 20
        self.port = 0
        while not self.port:
            if time.monotonic() > until or self.process.returncode is not None:
                sys.exit(f"the proxy does not start: {self.log.read_text()}")
            await asyncio.sleep(0.05)
            self.port = self.listens()

    def listens(self) -> int:
        """The port that it listens on, by /proc."""
        sockets = set()
        for fd in Path(f"/proc/{self.process.pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(fd))
            except OSError:
                pass
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                return int(cells[1].split(":")[1], 16)
        return 0

    def reload(self) -> None:
        self.generation += 1
        self.write()
        self.process.send_signal(signal.SIGHUP)

    def reloads(self) -> bool:
        """It knows SIGHUP (the kernel says whether there is a handler)."""
        line = next(x for x in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if x.startswith("SigCgt"))
        return bool(int(line.split()[1], 16) >> (signal.SIGHUP - 1) & 1)

    def sample(self) -> dict:
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return {"rss": int(status["VmRSS"].split()[0]) / 1024, "threads": int(status["Threads"]), "fds": len(list((proc / "fd").iterdir())),
                "in flight": self.in_flight()}

    def in_flight(self) -> int | None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers={"x-api-key": KEY})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            return next((int(float(x.split()[1])) for x in lines if x.startswith("claude_proxy_requests_in_flight ")), None)
        except OSError:
            return None


class Soak:
    def __init__(self, args) -> None:
        self.args, self.rng = args, random.Random(args.seed)
        self.told, self.wrong = [], []
        self.attempts = collections.defaultdict(list)
        self.downs: list = []     # [from, until, name]
        self.simple = self.reloads = self.sent = self.asked = 0
        self.counts = collections.Counter()
        self.ids = collections.Counter()
        self.over = False

    # --- traffic ----------------------------------------------------------------------------------------------------

    async def hear(self, pipe) -> None:
        while line := await pipe.readline():
            told = json.loads(line)
            if "id" in told:
                self.attempts[told["id"]].append(told)
            elif "down" in told:
                self.downs.append([time.monotonic() - 1, float("inf"), told["down"]])
            else:
                # What it says comes a little later than it is.
                next(d for d in reversed(self.downs) if d[2] == told["up"])[1] = time.monotonic() + 1

    async def client(self, n: int) -> None:
        rng = random.Random(self.args.seed * 1_000_003 + n)
        client = Client(self.proxy.port, KEY, rng, "a")
        pause = self.args.clients / self.args.rate
        await asyncio.sleep(rng.random() * pause)
        number = 0
        while not self.over:
            number += 1
            if rng.random() < 0.1:
                try:
                    wrong = await asyncio.wait_for(client.simple(), 30)
                except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                    # A kept connection may end just then; a new one must do.
                    client.close()
                    wrong = await asyncio.wait_for(client.simple(), 30)
                self.simple += 1
                if wrong:
                    self.wrong.append(f"models or count_tokens: {wrong}")
            else:
                told = await client.message(plans.draw(rng, f"{n}-{number}"))
                self.told.append(told)
            await asyncio.sleep(rng.expovariate(1 / pause))
        client.close()

    async def ask_all(self) -> None:
        """A plain request for each upstream, some times, so that each worker gets some."""
        for n in range(8):
            for model in "ab":
                client = Client(self.proxy.port, KEY, self.rng, model)
                plan = {"id": f"last-{model}{n}", "seed": n, "kind": "text", "stream": True, "deltas": 3, "pause": 0, "framing": "close", "piece": 100}
                told = Told(plan, time.monotonic(), "no answer")
                self.asked += 1
                await client.exchange(plan, told, "reads")
                client.close()

    async def unrest(self) -> None:
        """Restarts of upstreams, and reloads."""
        reloads = self.proxy.reloads()
        while not self.over:
            await asyncio.sleep(self.rng.expovariate(1 / self.args.unrest))
            if self.over:
                return
            if reloads and self.rng.random() < 0.5:
                self.proxy.reload()
                self.reloads += 1
                continue
            self.upstream.stdin.write(f"restart {self.rng.choice('ab')} {self.rng.random():.2f}\n".encode())
            await self.upstream.stdin.drain()

    # --- accounts ---------------------------------------------------------------------------------------------------

    def judge(self, patience: float = 5.0) -> None:
        """What became of requests; the upstream may tell of its part a little later."""
        now = time.monotonic()
        # A busy machine may keep the upstream's words for longer: without them there is nothing to compare with.
        longest = 60.0 if patience > 0 else patience
        due = [t.ended < now - (patience if t.plan["id"] in self.attempts else longest) for t in self.told]
        told = [t for t, now_due in zip(self.told, due) if now_due]
        self.told = [t for t, now_due in zip(self.told, due) if not now_due]
        for t in told:
            attempts = self.attempts.pop(t.plan["id"], [])
            restarted = any(begin < t.ended and t.began < end for begin, end, _ in self.downs)
            finished = any(a["finish"] for a in attempts)
            if not t.wrong and t.what == "clean" and not finished:
                t.wrong = f"complete, although the upstream was not: {attempts}"
            if not t.wrong and t.what in ("error event", "HTTP error") and not restarted and all(a["end"] == "whole" for a in attempts):
                t.wrong = f"an error, although the upstream was complete: {t.status} {t.detail} {attempts}"
            if t.wrong:
                self.wrong.append(f"{t.plan['id']} ({t.what}): {t.wrong}; plan {json.dumps(t.plan)}")
            self.counts[("stream" if t.plan["stream"] else "whole", "wrong" if t.wrong else t.what)] += 1
            if t.request_id:
                self.ids[t.request_id] = {"clean": "done", "error event": "failed", "HTTP error": "refused"}.get(t.what, "")
            self.sent += 1

    def check_log(self) -> None:
        lines, seen = 0, collections.Counter()
        with open(self.proxy.log, "rb") as log:
            for raw in log:
                try:
                    line = json.loads(raw)
                except ValueError:
                    self.wrong.append(f"a line of the log that is no JSON: {raw[:300]!r}")
                    continue
                if line.get("level") == "ERROR" or "panicked" in str(line.get("outcome", "")) or b"sk-soak" in raw or KEY.encode() in raw:
                    self.wrong.append(f"log: {raw.decode()[:500]}")
                if line.get("target") == "claude_proxy::request":
                    lines += 1
                    seen[line["request_id"]] += 1
                    want = self.ids.get(line["request_id"])
                    if want and line["outcome"] != want:
                        self.wrong.append(f"the log says {line['outcome']}, the client was told {want}: {raw.decode()[:500]}")
        for request_id in self.ids:
            if seen[request_id] != 1:
                self.wrong.append(f"{request_id} has {seen[request_id]} lines in the log")
        if lines > self.sent + self.asked or lines < len(self.ids):
            self.wrong.append(f"{lines} lines of requests in the log, {self.sent} requests")
        print(f"log: {lines} lines of requests; {self.sent + self.asked} were sent")

    def slope(self, samples) -> float:
        """MiB in ten minutes, by least squares."""
        n = len(samples)
        t, y = [s["t"] for s in samples], [s["rss"] for s in samples]
        mt, my = sum(t) / n, sum(y) / n
        spread = sum((a - mt) ** 2 for a in t)
        return 600 * sum((a - mt) * (b - my) for a, b in zip(t, y)) / spread if spread else 0.0

    # --- the run ----------------------------------------------------------------------------------------------------

    async def run(self, where: Path) -> int:
        args = self.args
        here = Path(__file__).parent
        self.upstream = await asyncio.create_subprocess_exec(sys.executable, str(here / "upstream.py"), stdin=asyncio.subprocess.PIPE,
                                                             stdout=asyncio.subprocess.PIPE, limit=1 << 20)
        ports = dict(p.split("=") for p in (await self.upstream.stdout.readline()).decode().split())
        ear = asyncio.ensure_future(self.hear(self.upstream.stdout))
        self.proxy = Proxy({k: int(v) for k, v in ports.items()}, where, max(args.clients * 2, 64))
        await self.proxy.start()
        print(f"{self.proxy.exe}, seed {args.seed}, {args.clients} clients, {args.rate} requests a second at most, {args.seconds} s")
        print(f"with: {', '.join(['restarts', 'cuts', 'cancels', 'slow readers', *(['reloads'] if self.proxy.reloads() else []), *('fallbacks' if 'fallbacks' in e else 'two keys' for e in self.proxy.extras)])}")
        base = await asyncio.to_thread(self.proxy.sample)
        began, samples = time.monotonic(), []
        tasks = [asyncio.ensure_future(self.client(n)) for n in range(args.clients)]
        unrest = asyncio.ensure_future(self.unrest())
        print(f"{'s':>6} {'RSS MiB':>8} {'fds':>5} {'threads':>8} {'in flight':>10} {'requests':>9} {'wrong':>6}", flush=True)

        async def sample(every: bool) -> dict:
            self.judge()
            s = await asyncio.to_thread(self.proxy.sample) | {"t": time.monotonic() - began}
            if every:
                samples.append(s)
            flight = "-" if s["in flight"] is None else s["in flight"]
            print(f"{s['t']:6.0f} {s['rss']:8.1f} {s['fds']:5} {s['threads']:8} {flight:>10} {self.sent:9} {len(self.wrong):6}", flush=True)
            return s

        while (left := args.seconds - (time.monotonic() - began)) > 0:
            await asyncio.sleep(min(SAMPLE, left))
            await sample(True)
            for task in tasks:
                if task.done() and task.exception():
                    raise task.exception()
            if len(self.wrong) > 50 or self.proxy.process.returncode is not None:
                break
        self.over = True
        unrest.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks), 90)
        last, until = await sample(False), time.monotonic() + 60
        while time.monotonic() < until and (last["in flight"] or last["fds"] > base["fds"] + args.idle_fds):
            # An idle connection to the upstream is closed when the next request finds it too old (10 s).
            await asyncio.sleep(11)
            await self.ask_all()
            last = await asyncio.to_thread(self.proxy.sample)
        print(f"after the traffic: {last['fds']} descriptors (at the start {base['fds']}), {last['rss']:.1f} MiB, in flight {last['in flight']}")
        if last["in flight"]:
            self.wrong.append(f"{last['in flight']} requests are in flight, and no client is there")
        if last["fds"] > base["fds"] + args.idle_fds:
            self.wrong.append(f"{last['fds']} descriptors are open; at the start it were {base['fds']}")
        warm = [s for s in samples if s["t"] >= min(120, args.seconds / 4)]
        if len(warm) > 2:
            slope = self.slope(warm)
            print(f"memory: {warm[0]['rss']:.1f} MiB when warm, {max(s['rss'] for s in samples):.1f} at most, {slope:+.2f} MiB in 10 minutes")
            if args.seconds >= 1200 and slope > 1:
                self.wrong.append(f"memory grows by {slope:.2f} MiB in 10 minutes")
        self.proxy.process.terminate()
        if await asyncio.wait_for(self.proxy.process.wait(), 20):
            self.wrong.append(f"the proxy ended with {self.proxy.process.returncode}")
        self.upstream.stdin.close()
        await self.upstream.wait()
        await ear
        self.judge(-1.0)
        self.check_log()
        print(f"{self.sent} messages, {self.simple} other requests, {len(self.downs)} restarts of an upstream, {self.reloads} reloads")
        whats = ("clean", "error event", "HTTP error", "cancelled", "no answer", "wrong")
        print(f"{'':8}" + "".join(f"{w:>13}" for w in whats))
        for kind in ("stream", "whole"):
            print(f"{kind:8}" + "".join(f"{self.counts[(kind, w)]:13}" for w in whats))
        for wrong in self.wrong[:20]:
            print(f"WRONG: {wrong}")
        print(f"{self.sent + self.simple - len(self.wrong)} requests passed, {len(self.wrong)} failed" if self.wrong else "1 passed, 0 failed")
        return 1 if self.wrong else 0


def main() -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--seconds", type=float, default=1800)
    parse.add_argument("--clients", type=int, default=200)
    parse.add_argument("--rate", type=float, default=150, help="requests a second, at most")
    parse.add_argument("--unrest", type=float, default=8, help="seconds between two restarts or reloads, about")
    parse.add_argument("--idle-fds", type=int, default=4, help="descriptors that may be left when all is quiet")
    parse.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parse.add_argument("--keep", type=Path, help="a directory for configuration and log, which stay")
    args = parse.parse_args()
    if not Path("/proc/self/status").exists():
        sys.exit("needs Linux: it reads /proc")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(Soak(args).run(args.keep))
    with tempfile.TemporaryDirectory(prefix="claude-proxy-soak-") as where:
        return asyncio.run(Soak(args).run(Path(where)))


if __name__ == "__main__":
    sys.exit(main())
