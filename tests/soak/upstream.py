"""Two scripted upstreams, a and b, on raw TCP, in a process of their own.

It prints `a=PORT b=PORT`, then a JSON line for each attempt, and for each time that one of them goes down or up again;
on standard input it is told `restart a 0.5`: all connections of a end, and it listens again half a second later.
"""
from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys

import plan as plans

STALL = 30.0        # longer than the proxy's patience


class Cut(Exception):
    """The plan says to end here."""


def tell(**what) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Upstream:
    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024, reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]

    async def restart(self, pause: float) -> None:
        if not self.server.is_serving():
            return                # it is down already
        self.server.close()
        tell(down=self.name)
        for n, writer in enumerate(list(self.open)):
            reset(writer) if n % 2 else writer.close()
        await asyncio.sleep(pause)
        await self.start()
        tell(up=self.name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while await self.request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def request(self, reader, writer) -> bool:
        """One exchange. True: the connection can be used again."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")))
        body = json.loads(await reader.readexactly(length))
        message = body["messages"][-1]["content"]
        plan = plans.of(message if isinstance(message, str) else message[-1]["text"])
        attempt = {"id": plan["id"], "at": self.name, "finish": False, "end": "gone"}
        # The other side may leave at any time: nothing may come from it until the answer is out.
        watch = asyncio.ensure_future(reader.read(1))
        play = asyncio.ensure_future(self.play(plan, bool(body.get("stream")), attempt, writer))
        try:
            await asyncio.wait({watch, play}, return_when=asyncio.FIRST_COMPLETED)
            if not play.done():
                return False
            again = play.result()
            if again:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            return again
        except ConnectionError:
            return False
        finally:
            for task in (watch, play):
                task.cancel()
            await asyncio.gather(watch, play, return_exceptions=True)
            tell(**attempt)

    async def play(self, plan: dict, streams: bool, attempt: dict, writer) -> bool:
        here = plan.get("where") == "both" or self.name == "a"
        cut = plan.get("cut") if here else None
        if cut == "no-head":
            attempt["end"] = "cut"
            await asyncio.sleep(plan["pause"])
            return False
        if here and plan.get("status"):
            attempt["end"] = "status"
            body = json.dumps({"error": {"message": f"planned {plan['id']}", "type": "x", "code": None}}).encode()
            writer.write(b"HTTP/1.1 %d Planned\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (plan["status"], len(body)) + body)
            await writer.drain()
            return True
        if streams:
            events, end = plans.stream(plan)
        else:
            events, end = [], [plans.whole(plan)]
        size = sum(map(len, events + end))
        framing = plan["framing"] if cut != "half-chunk" else "chunked"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {'text/event-stream' if streams else 'application/json'}\r\n"
        head += {"chunked": "transfer-encoding: chunked\r\n", "length": f"content-length: {size}\r\n", "close": "connection: close\r\n"}[framing]
        writer.write(head.encode() + b"\r\n")
        # Cut anywhere before what ends the answer; of a whole answer, before its last byte.
        limit = int(plan["at"] * (sum(map(len, events)) if streams else size - 1)) if cut else size
        sent = 0
        rng = random.Random(plan["seed"] + 2)
        for event in events + end:
            for at in range(0, len(event), plan["piece"]):
                piece = event[at:at + plan["piece"]]
                if sent + len(piece) > limit:
                    await self.cut(cut, piece[:limit - sent], framing, attempt, writer)
                    return False
                self.frame(piece, framing, writer)
                sent += len(piece)
                if rng.random() < 0.1:
                    await writer.drain()
            if event is end[0]:
                attempt["finish"] = True
            if plan["pause"] and rng.random() < 0.5:
                await asyncio.sleep(plan["pause"])
            await writer.drain()
        if framing == "chunked":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        attempt["end"] = "whole"
        return framing != "close"

    @staticmethod
    def frame(piece: bytes, framing: str, writer) -> None:
        if writer.is_closing():
            raise ConnectionResetError
        writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n" if framing == "chunked" else piece)

    async def cut(self, how: str, rest: bytes, framing: str, attempt: dict, writer) -> None:
        attempt["end"] = "cut"
        if how == "half-chunk":
            writer.write(b"%x\r\n" % (len(rest) + 10) + rest)
        elif rest:
            self.frame(rest, framing, writer)
        await writer.drain()
        if how == "stall":
            await asyncio.sleep(STALL)
        if how == "rst":
            reset(writer)


async def main() -> None:
    upstreams = {name: Upstream(name) for name in "ab"}
    for upstream in upstreams.values():
        await upstream.start()
    print(*(f"{u.name}={u.port}" for u in upstreams.values()), flush=True)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    pending = set()
    while line := await stdin.readline():
        word, name, pause = line.decode().split()
        assert word == "restart"
        pending.add(asyncio.ensure_future(upstreams[name].restart(float(pause))))


if __name__ == "__main__":
    asyncio.run(main())
