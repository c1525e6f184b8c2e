#!/usr/bin/env python3
"""Three replicas behind the HAProxy and nginx that contrib/ configures: restarted in turn, and one of them killed.

    tests/scale/run.py [--streams N] [--rounds N] [--balancers haproxy,nginx] [--seed N] [--keep DIR]

Each balancer has N clients that ask without a pause, most of them for streams of 1 to 5 s. While the replicas are restarted
by SIGTERM, one after the other, every answer has to come to its end and be what the upstream said; each request is asked
once, and all of a session with one key. Of a replica that gets SIGKILL the streams break off, and none looks complete.
$CLAUDE_PROXY_BIN is what runs (else the release build, else the debug one). $PATH and .cache/debian are searched for the balancers.
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/soak"))
import plan as plans                                    # noqa: E402
from client import Message, Wrong                       # noqa: E402

KEY = "scale-inbound-key-1"
KEYS = [f"sk-scale-{n}-0123456789" for n in range(4)]
NAMES = ("a", "b", "c")
UNPACKED = ROOT / ".cache/debian"
PATIENCE = 60.0


def binary() -> str:
    built = [os.environ.get("CLAUDE_PROXY_BIN") or "", *(str(ROOT / f"target/{p}/claude-proxy") for p in ("release", "debug"))]
    return next((os.path.abspath(b) for b in built if b and os.access(b, os.X_OK)), None) or sys.exit("build it first: cargo build --release")


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:{UNPACKED}/usr/sbin")


def free_port(taken: set[int]) -> int:
    """Outside of the ports that systems give out: it is given back while its replica is away."""
    for port in random.sample(range(20000, 30000), 1000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            taken.add(port)
            return port
    sys.exit("no port is free")


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return lines[0], {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:] if line)}


async def get(port: int, path: str) -> int:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        line, _ = await asyncio.wait_for(read_head(reader), 5)
        writer.close()
        return int(line.split()[1])
    except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        return 0


class Upstream:
    """Does what plans say, and knows who was asked what with which key."""

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = collections.defaultdict(list)
        self.told: dict[str, float] = {}
        self.keys: dict[str, set[str]] = collections.defaultdict(set)
        self.pairs: set[tuple[str, str]] = set()
        self.tasks: set[asyncio.Task] = set()

    async def start(self) -> int:
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                _, headers = await read_head(reader)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                await self.answer(plans.of(body["messages"][-1]["content"]), headers, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(asyncio.current_task())
            writer.close()

    async def answer(self, plan: dict, headers: dict, writer: asyncio.StreamWriter) -> None:
        name, replica, key = plan["id"], headers["x-replica"], headers["authorization"].removeprefix("Bearer ")
        self.asked[name].append(replica)
        self.keys[plan["session"]].add(key)
        self.pairs.add((replica, key))
        if not plan["stream"]:
            await asyncio.sleep(plan["seconds"])
            body = plans.whole(plan)
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            self.told[name] = time.monotonic()
            return
        events, end = plans.stream(plan)
        pause = plan["seconds"] / len(events)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in events:
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
            await asyncio.sleep(pause)
        body = b"".join(end)
        self.told[name] = time.monotonic()
        writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        await writer.drain()


class Replica:
    def __init__(self, name: str, port: int, upstream: int, where: Path) -> None:
        self.name, self.port, self.log = name, port, where / f"{name}.log"
        self.config = where / f"{name}.json"
        provider = {"name": name, "base_url": f"http://127.0.0.1:{upstream}", "api_keys": KEYS, "headers": {"x-replica": name},
                    "models": [{"id": "m"}]}
        # Each has the keys in an order of its own: what a session gets must not hang on that.
        random.Random(name).shuffle(provider["api_keys"])
        self.config.write_text(json.dumps({"ak": KEY, "host": "127.0.0.1", "port": port, "workers": 1, "log_body_max_chars": 0,
                                           "log_stream_text_preview_chars": 0, "providers": [provider]}))

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(binary(), "serve", "--config", str(self.config), stdin=asyncio.subprocess.DEVNULL,
                                                                stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE
        while await get(self.port, "/ready") != 200:
            if self.process.returncode is not None or time.monotonic() > until:
                sys.exit(f"replica {self.name} does not start:\n{self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.02)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


class Balancer:
    """The shipped file with the addresses of this run; nothing else is changed but what it may write to."""

    def __init__(self, name: str, port: int, replicas: list[Replica], where: Path) -> None:
        self.name, self.port, self.exe, self.where = name, port, find(name), where
        text = (ROOT / "contrib" / f"{name}.{'cfg' if name == 'haproxy' else 'conf'}").read_text()
        for n, replica in enumerate(replicas):
            text = self.put(text, f"10.0.0.1{n + 1}:8888", f"127.0.0.1:{replica.port}")
        self.config, self.log = where / f"{name}.conf", where / f"{name}.log"
        if name == "haproxy":
            text = self.put(text, "bind :8080", f"bind 127.0.0.1:{port}")
            # The delay that this line is there against shows on no machine with certainty.
            if not re.search(r"^ *option http-no-delay$", text, re.M):
                sys.exit("contrib/haproxy.cfg has no `option http-no-delay`")
            self.check, self.run = ["-c", "-f", str(self.config)], ["-f", str(self.config)]
        else:
            text = self.put(text, "listen 8080;", f"listen 127.0.0.1:{port};")
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            own = "".join(f"    {kind}_temp_path {where}/{kind};\n" for kind in kinds)
            text = self.put(text, "http {\n", f"http {{\n{own}")
            user = "user root;" if os.getuid() == 0 else ""
            base = ["-p", str(where), "-e", str(self.log), "-c", str(self.config)]
            self.check = ["-t", *base, "-g", f"pid {where}/nginx.pid;"]
            self.run = [*base, "-g", f"daemon off; pid {where}/nginx.pid; {user}"]
        self.config.write_text(text)

    @staticmethod
    def put(text: str, old: str, new: str) -> str:
        if text.count(old) != 1:
            sys.exit(f"{old!r} is there {text.count(old)} times, not once")
        return text.replace(old, new)

    async def start(self) -> None:
        env = dict(os.environ)
        if self.exe.startswith(str(UNPACKED)):
            env["LD_LIBRARY_PATH"] = ":".join(str(p) for p in UNPACKED.glob("usr/lib/*-linux-gnu*"))
        checked = await asyncio.create_subprocess_exec(self.exe, *self.check, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env)
        said = (await checked.communicate())[0].decode()
        if checked.returncode or re.search(r"\[(warn|emerg|alert|WARNING|ALERT)", said):
            sys.exit(f"{self.name} does not like its file:\n{said}")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(self.exe, *self.run, stdout=log, stderr=log, env=env)
        until = time.monotonic() + PATIENCE
        while await get(self.port, "/health") != 200:
            if self.process.returncode is not None or time.monotonic() > until:
                sys.exit(f"{self.name} does not start:\n{self.log.read_text()[-2000:]}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        # At once, for both.
        self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), PATIENCE)


@dataclass
class Told:
    """What became of a request."""
    plan: dict
    through: str
    began: float
    ended: float = 0.0
    what: str = "cut"             # clean | error event | HTTP n | cut
    first: float = 0.0            # seconds until the first piece of the answer's body
    wrong: str = ""
    head: bool = False


class Scale:
    def __init__(self, args) -> None:
        self.args, self.rng = args, random.Random(args.seed)
        self.told: list[Told] = []
        self.over, self.number, self.running = False, 0, 0
        self.wrong: list[str] = []
        self.passed = 0

    def plan(self, session: str) -> dict:
        rng, self.number = self.rng, self.number + 1
        return {"id": f"r{self.number}", "seed": rng.getrandbits(31), "kind": rng.choice(("text", "text", "tools")), "stream": rng.random() < 0.85,
                "deltas": rng.randint(4, 16), "seconds": rng.uniform(1, 5), "session": session}

    async def client(self, n: int, balancer: Balancer) -> None:
        session = f"{balancer.name}-{n:04}"
        connection = None
        await asyncio.sleep(self.rng.random() * 2)
        while not self.over:
            told = Told(self.plan(session), balancer.name, time.monotonic())
            self.running += 1
            try:
                if connection is None or connection[0].at_eof():
                    connection = await asyncio.open_connection("127.0.0.1", balancer.port, limit=1 << 20)
                keeps = await asyncio.wait_for(self.exchange(told, *connection), PATIENCE)
            except Wrong as e:
                told.wrong, keeps = str(e), False
            except asyncio.TimeoutError:
                told.wrong, keeps = "no end", False
            except (OSError, asyncio.IncompleteReadError, ValueError):
                keeps = False                            # cut, and in the middle of a stream: see `what`
            self.running -= 1
            if not keeps and connection is not None:
                connection[1].close()
                connection = None
            told.ended = time.monotonic()
            self.told.append(told)
            if told.what != "clean":
                await asyncio.sleep(0.2)
        if connection is not None:
            connection[1].close()

    async def exchange(self, told: Told, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        plan = told.plan
        tools = [{"name": f"tool_{i}", "input_schema": {"type": "object"}} for i in range(3)]
        body = json.dumps({"model": "m", "max_tokens": 4096, "stream": plan["stream"], "tools": tools,
                           "messages": [{"role": "user", "content": plans.MARK + json.dumps(plan)}]}).encode()
        writer.write((f"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\n"
                      f"x-claude-code-session-id: {plan['session']}\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body)
        await writer.drain()
        line, headers = await read_head(reader)
        status, told.head, message, pending = int(line.split()[1]), True, Message(), b""
        keeps = headers.get("connection", "").lower() != "close"
        async for piece in self.pieces(reader, headers):
            told.first = told.first or time.monotonic() - told.began
            pending += piece
            while status == 200 and plan["stream"] and b"\n\n" in pending:
                event, pending = pending.split(b"\n\n", 1)
                data = next((line[5:] for line in event.decode().split("\n") if line.startswith("data:")), None)
                if data is None:
                    raise Wrong(f"an event without data: {event!r}")
                message.event(json.loads(data))
                message.check(plan)
                told.what = {"message_stop": "clean", "error": "error event"}.get(message.ended, "cut")
        if status != 200:
            told.what = f"HTTP {status}"
            return keeps
        if not plan["stream"]:
            answer = json.loads(pending)
            message.ended = "message_stop"
            for block in answer["content"]:
                if block["type"] == "text":
                    message.text += block["text"]
                else:
                    message.calls.append([block["name"], json.dumps(block["input"])])
            message.check(plan)
            told.what = "clean"
        elif pending:
            raise Wrong(f"the end of a stream is no event: {pending[:100]!r}")
        elif not message.ended:
            raise Wrong("a stream that ends well without an end")
        return keeps

    async def pieces(self, reader: asyncio.StreamReader, headers: dict):
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline() or b"cut", 16):
                piece = await reader.readexactly(size + 2)
                yield piece[:-2]
            await reader.readexactly(2)
        elif "content-length" in headers:
            yield await reader.readexactly(int(headers["content-length"]))
        else:
            while piece := await reader.read(65536):
                yield piece

    def check(self, what: str, wrong: list[str]) -> None:
        self.passed += not wrong
        print(f"{'ok   ' if not wrong else 'WRONG'} {what}", flush=True)
        for each in wrong[:10]:
            print(f"      {each}")
        if wrong:
            self.wrong.append(what)

    @staticmethod
    def tell(told: Told) -> str:
        return f"{told.plan['id']} through {told.through}: {told.what} after {told.ended - told.began:.2f} s{', head came' if told.head else ''} {told.wrong}"

    async def run(self, where: Path) -> int:
        args, taken = self.args, set()
        self.upstream = Upstream()
        at = await self.upstream.start()
        self.replicas = [Replica(name, free_port(taken), at, where) for name in NAMES]
        balancers = [Balancer(name, free_port(taken), self.replicas, where) for name in args.balancers]
        running: list = []
        try:
            for each in (*self.replicas, *balancers):
                await each.start()
                running.append(each)
            await self.play(balancers)
        finally:
            try:
                for each in reversed(running):
                    if each.process.returncode is None:
                        await (each.stop() if isinstance(each, Balancer) else asyncio.wait_for(self.end(each), PATIENCE))
            finally:
                for each in running:
                    if each.process.returncode is None:
                        each.process.kill()
        print(f"{self.passed} passed, {len(self.wrong)} failed")
        return 1 if self.wrong else 0

    @staticmethod
    async def end(replica: Replica) -> None:
        replica.process.kill()
        await replica.process.wait()

    async def play(self, balancers: list[Balancer]) -> None:
        args, began = self.args, time.monotonic()
        print(f"{binary()}, seed {args.seed}, 3 replicas behind {' and '.join(args.balancers)}, {args.streams} clients each, "
              f"{args.rounds} rolling restarts", flush=True)
        clients = [asyncio.ensure_future(self.client(n, balancer)) for balancer in balancers for n in range(args.streams)]
        await asyncio.sleep(3)
        codes, busy = [], []
        for n in range(args.rounds):
            for replica in self.replicas:
                busy.append(self.running)
                start = time.monotonic()
                codes.append(await replica.stop())
                gone = time.monotonic()
                await replica.start()
                print(f"{time.monotonic() - began:5.0f} s: {replica.name} restarted, round {n + 1}: drained in {gone - start:.1f} s, ready after "
                      f"{time.monotonic() - gone:.2f} s; {self.running} requests run, {len(self.told)} answered, "
                      f"{sum(t.what != 'clean' or bool(t.wrong) for t in self.told)} of them not well", flush=True)
        # Let the balancers find the last one back, and some requests end that ran across it.
        await asyncio.sleep(2)

        victim = max(self.replicas, key=lambda r: sum(self.upstream.asked[i][-1:] == [r.name] for i in self.open()))
        before, killed = {i for i in self.open() if victim.name in self.upstream.asked[i]}, time.monotonic()
        victim.process.kill()
        await victim.process.wait()
        gone = time.monotonic()
        await asyncio.sleep(3)
        await victim.start()
        await asyncio.sleep(2)
        self.over = True
        await asyncio.gather(*clients)
        for task in list(self.upstream.tasks):
            task.cancel()
        self.judge(codes, busy, (killed, gone), victim.name, before)

    def open(self) -> list[str]:
        """Requests that the upstream has not answered to the end."""
        return [i for i in self.upstream.asked if i not in self.upstream.told]

    def judge(self, codes: list, busy: list, at: tuple[float, float], victim: str, before: set) -> None:
        up, tell, (killed, gone) = self.upstream, self.tell, at
        fine = lambda t: t.what == "clean" and not t.wrong                                   # noqa: E731
        calm = [t for t in self.told if t.ended < killed]
        for name in self.args.balancers:
            of = [t for t in calm if t.through == name]
            streams = sum(t.plan["stream"] for t in of)
            self.check(f"{name}: {streams} streams and {len(of) - streams} other answers across {self.args.rounds * 3} restarts, none failed",
                       [tell(t) for t in of if not fine(t)] + ([] if len(of) > self.args.streams else ["too few of them to say so"]))
        self.check(f"at each restart {min(busy)} requests or more were running", [] if min(busy) > self.args.streams / 2 else [str(busy)])
        self.check("each replica ended with exit code 0", [str(codes)] if any(codes) else [])
        self.check("an answer that came to its end was asked for once",
                   [f"{t.plan['id']}: {up.asked[t.plan['id']]}" for t in self.told if fine(t) and len(up.asked[t.plan["id"]]) != 1])

        across = [t for t in self.told if t.began < gone and t.ended >= killed]
        # Perhaps the replica had it, and not yet its upstream; then no one knows.
        unknown = [t for t in across if t.plan["id"] not in up.asked]
        its = [t for t in across if t.plan["id"] in before]
        others = [t for t in across if t.plan["id"] not in before and t not in unknown]
        late = [t for t in others if not fine(t) and up.asked[t.plan["id"]] == [victim]]       # came to it in the last moment
        self.check(f"SIGKILL: all {len(its)} requests of the replica failed "
                   f"({', '.join(f'{n} {what}' for what, n in collections.Counter(t.what for t in its).most_common())})",
                   [tell(t) for t in its if t.what == "clean" and not t.wrong] + ([] if len(its) > len(self.args.balancers) else ["too few to say so"]))
        self.check(f"SIGKILL: none of {len(self.told)} answers was a wrong one, or looked complete and was not", [tell(t) for t in self.told if t.wrong])
        self.check(f"SIGKILL: the {len(others)} requests of other replicas went on", [tell(t) for t in others if not fine(t) and t not in late])
        after = [t for t in self.told if t.began >= gone]
        self.check(f"SIGKILL: {len(after)} later requests, none failed", [tell(t) for t in after if not fine(t)] + ([] if after else ["there were none"]))
        if unknown or late:
            print(f"      {len(unknown) + len(late)} more were on their way into the replica: "
                  f"{dict(collections.Counter(t.what for t in unknown + late))}")

        keys = collections.Counter(len(k) for k in up.keys.values())
        used = {k for ks in up.keys.values() for k in ks}
        self.check(f"{len(up.keys)} sessions with one of {len(used)} keys each, through {len({r for r, _ in up.pairs})} replicas",
                   [f"{s}: {sorted(k)}" for s, k in up.keys.items() if len(k) != 1] + ([] if used == set(KEYS) else [f"used: {used}"]) if keys else ["none"])
        for name in self.args.balancers:
            first = sorted(t.first * 1000 for t in calm if t.through == name and t.plan["stream"] and t.first)
            print(f"{name}: first byte of {len(first)} streams: median {statistics.median(first):.0f} ms, p99 {first[len(first) * 99 // 100]:.0f} ms, "
                  f"longest {first[-1]:.0f} ms")


def main() -> int:
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--streams", type=int, default=100, help="clients of each balancer")
    parse.add_argument("--rounds", type=int, default=2, help="times that all replicas are restarted")
    parse.add_argument("--balancers", type=lambda s: s.split(","), default=["haproxy", "nginx"])
    parse.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parse.add_argument("--keep", type=Path, help="a directory for configurations and logs, which stay")
    args = parse.parse_args()
    missing = [name for name in args.balancers if find(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(Scale(args).run(args.keep.resolve()))
    with tempfile.TemporaryDirectory(prefix="claude-proxy-scale-") as where:
        os.chmod(where, 0o755)
        return asyncio.run(Scale(args).run(Path(where)))


if __name__ == "__main__":
    sys.exit(main())
