"""One client: sends a request, reads the answer as its plan says, and tells what became of it."""
from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from dataclasses import dataclass, field

import plan as plans

PATIENCE = 60.0


class Wrong(Exception):
    """Something that must not be."""


@dataclass
class Told:
    """What became of a request."""
    plan: dict
    began: float
    what: str                     # clean | error event | HTTP error | cancelled | no answer
    status: int = 0
    request_id: str = ""
    ended: float = 0.0
    wrong: str = ""
    detail: str = ""


@dataclass
class Message:
    """A Message as it grows."""
    text: str = ""
    thinking: str = ""
    calls: list = field(default_factory=list)
    ended: str = ""               # "" | message_stop | error
    started: bool = False
    open: int | None = None
    blocks: int = 0

    def event(self, event: dict) -> None:
        kind = event["type"]
        if kind == "ping":
            return
        if self.ended:
            raise Wrong(f"{kind} behind the end")
        if kind == "error":
            self.ended = "error"
            return
        if kind == "message_start":
            if self.started:
                raise Wrong("a second message_start")
            self.started = True
        elif not self.started:
            raise Wrong(f"{kind} before message_start")
        elif kind == "content_block_start":
            if self.open is not None or event["index"] != self.blocks:
                raise Wrong(f"block {event['index']} where {self.blocks} was due")
            self.open, self.blocks = event["index"], self.blocks + 1
            block = event["content_block"]
            if block["type"] == "tool_use":
                self.calls.append([block["name"], ""])
        elif kind == "content_block_delta":
            if event["index"] != self.open:
                raise Wrong(f"a delta for block {event['index']}, open is {self.open}")
            delta = event["delta"]
            self.text += delta.get("text", "")
            self.thinking += delta.get("thinking", "")
            if delta["type"] == "input_json_delta":
                self.calls[-1][1] += delta["partial_json"]
        elif kind == "content_block_stop":
            if event["index"] != self.open:
                raise Wrong(f"the end of block {event['index']}, open is {self.open}")
            self.open = None
        elif kind == "message_stop":
            if self.open is not None:
                raise Wrong("message_stop while a block is open")
            self.ended = kind
        elif kind != "message_delta":
            raise Wrong(f"an event of type {kind}")

    def check(self, plan: dict) -> None:
        """It is the plan's answer; if it did not come to its end, the beginning of that."""
        want = plans.answer(plan)
        if self.ended == "message_stop":
            calls = [(name, json.loads(text)) for name, text in self.calls]
            for key, got in (("text", self.text), ("reasoning", self.thinking), ("calls", calls)):
                if got != want[key]:
                    raise Wrong(f"{key} differs: {str(got)[:200]!r} and not {str(want[key])[:200]!r}")
            return
        for key, got in (("text", self.text), ("reasoning", self.thinking)):
            if not want[key].startswith(got):
                raise Wrong(f"{key} is not the beginning of what was said: {got[:200]!r}")


class Client:
    """Keeps a connection while it can."""

    def __init__(self, port: int, key: str, rng: random.Random, model: str) -> None:
        self.port, self.key, self.rng, self.model = port, key, rng, model
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self, small: bool) -> bool:
        """True: a connection that was there already."""
        if self.writer is not None and not small and not self.reader.at_eof():
            return True
        self.close()
        sock = socket.socket()
        sock.setblocking(False)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=4096 if small else 1 << 20)
        return False

    def close(self, reset: bool = False) -> None:
        if self.writer is not None:
            if reset:
                sock = self.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort() if reset else self.writer.close()
        self.reader = self.writer = None

    async def send(self, method: str, path: str, body: bytes) -> None:
        self.writer.write((f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {self.key}\r\ncontent-type: application/json\r\n"
                           f"anthropic-version: 2023-06-01\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers

    async def body(self, headers: dict):
        """The body's pieces."""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                left = size
                while left:
                    piece = await self.reader.read(min(left, 65536))
                    if not piece:
                        raise asyncio.IncompleteReadError(b"", left)
                    left -= len(piece)
                    yield piece
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        else:
            yield await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def simple(self) -> str:
        """models or count_tokens; what is wrong, if anything."""
        await self.connect(False)
        if self.rng.random() < 0.5:
            await self.send("GET", "/v1/models", b"")
        else:
            body = {"model": self.model, "messages": [{"role": "user", "content": "How many? " * self.rng.randint(1, 200)}]}
            await self.send("POST", "/v1/messages/count_tokens", json.dumps(body).encode())
        status, headers = await self.head()
        got = json.loads(b"".join([p async for p in self.body(headers)]))
        return "" if status == 200 and (got.get("input_tokens") or got.get("data")) else f"{status} {got}"

    async def message(self, plan: dict) -> Told:
        rng, told = self.rng, Told(plan, time.monotonic(), "no answer")
        manner = rng.choices(("reads", "slow", "leaves"), (78, 6, 16))[0]
        leave = rng.random() ** 2 * 2 if manner == "leaves" else None
        try:
            await asyncio.wait_for(self.exchange(plan, told, manner), leave or PATIENCE)
        except asyncio.TimeoutError:
            told.what = "cancelled"
            if leave is None:
                told.what, told.wrong = "no answer", f"nothing to the end in {PATIENCE:.0f} s"
            self.close(reset=rng.random() < 0.5)
        except Wrong as e:
            told.wrong = str(e)
            self.close()
        except (ConnectionError, asyncio.IncompleteReadError) as e:
            # The proxy has to say what went wrong: an ended connection alone says nothing.
            told.wrong = told.wrong or f"the proxy ended the connection: {e!r}"
            self.close()
        told.ended = time.monotonic()
        return told

    async def exchange(self, plan: dict, told: Told, manner: str) -> None:
        tools = [{"name": f"tool_{i}", "input_schema": {"type": "object"}} for i in range(3)]
        body = {"model": self.model, "max_tokens": 4096, "stream": plan["stream"], "tools": tools,
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "messages": [{"role": "user", "content": plans.MARK + json.dumps(plan)}]}
        body = json.dumps(body).encode()
        again = await self.connect(manner == "slow")
        try:
            await self.send("POST", "/v1/messages", body)
            status, headers = await self.head()
        except (ConnectionError, asyncio.IncompleteReadError):
            if not again:
                raise
            # A connection that was kept may end just then: as clients do, once more on a new one.
            self.close()
            await self.connect(False)
            await self.send("POST", "/v1/messages", body)
            status, headers = await self.head()
        told.status, told.request_id = status, headers.get("request-id", "")
        if not told.request_id:
            raise Wrong("an answer without request-id")
        if status == 200 and plan["stream"]:
            await self.stream(plan, told, headers, manner)
        else:
            got = json.loads(b"".join([p async for p in self.body(headers)]))
            if status != 200:
                told.what, told.detail = "HTTP error", got["error"]["message"]
                if plan.get("status") and told.detail.startswith("planned") and told.detail.split()[1] != plan["id"]:
                    raise Wrong(f"the error of another request: {told.detail}")
            else:
                message = Message(ended="message_stop")
                for block in got["content"]:
                    message.text += block.get("text", "")
                    message.thinking += block.get("thinking", "")
                    if block["type"] == "tool_use":
                        message.calls.append([block["name"], json.dumps(block["input"])])
                message.check(plan)
                told.what = "clean"
        if headers.get("connection") == "close" or manner == "slow" or self.rng.random() < 0.3:
            self.close()

    async def stream(self, plan: dict, told: Told, headers: dict, manner: str) -> None:
        message, rest = Message(), b""
        try:
            async for piece in self.body(headers):
                rest += piece
                *events, rest = rest.split(b"\n\n")
                for event in events:
                    name, data = event.split(b"\n")
                    data = json.loads(data.removeprefix(b"data: "))
                    if name.removeprefix(b"event: ").decode() != data["type"]:
                        raise Wrong(f"{name} is of type {data['type']}")
                    message.event(data)
                    if data["type"] == "error":
                        told.detail = data["error"]["message"]
                if manner == "slow":
                    await asyncio.sleep(self.rng.random() * 0.02)
        finally:
            message.check(plan)
        if rest or not message.ended:
            raise Wrong(f"the body ended without an end: {rest[-200:]!r}")
        told.what = "clean" if message.ended == "message_stop" else "error event"
