"""A scripted Chat Completions upstream: plays queued answers, keeps what it was asked."""
from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request as it reached the upstream."""
    method: str
    path: str
    headers: dict
    raw: bytes
    body: object = None
    at: float = field(default_factory=time.monotonic)
    closed: float | None = None   # when the other side was seen to hang up (of an answer that hangs)

    @property
    def messages(self) -> list:
        return self.body["messages"]

    @property
    def roles(self) -> list:
        return [m["role"] for m in self.messages]


@dataclass
class Answer:
    """What is sent back. `parts` go out one by one, `pause` seconds apart."""
    status: int = 200
    headers: dict = field(default_factory=dict)
    parts: list = field(default_factory=list)
    pause: float = 0.0
    delay: float = 0.0            # before the status line
    end: str = "clean"            # clean | cut (no end of the body) | reset | none (no answer at all) | hang (until the other side closes)


def usage(prompt=20, completion=5, cached=None, **more) -> dict:
    out = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if cached is not None:
        out["prompt_tokens_details"] = {"cached_tokens": cached}
    return {**out, **more}


def call(id, name, arguments) -> dict:
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def whole(text=None, calls=(), finish=None, use=None, **message) -> Answer:
    """A chat.completion; `use=False`: it tells no usage."""
    msg = {"role": "assistant", "content": text, **message}
    if calls:
        msg["tool_calls"] = list(calls)
    body = {"id": "chatcmpl-t", "object": "chat.completion", "created": 1, "model": "served",
            "choices": [{"index": 0, "message": msg, "finish_reason": finish or ("tool_calls" if calls else "stop")}],
            **({} if use is False else {"usage": use or usage()})}
    return Answer(headers={"content-type": "application/json"}, parts=[json.dumps(body).encode()])


def chunk(delta: dict, finish=None) -> dict:
    return {"id": "chatcmpl-t", "object": "chat.completion.chunk", "created": 1, "model": "served",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def sse(payload) -> bytes:
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def stream(*items, text=None, calls=(), finish=None, use=None, pause=0.0, end="clean", done=True) -> Answer:
    """chat.completion.chunk events. `items`: further deltas, before text and calls."""
    deltas = [{"role": "assistant", "content": ""}, *items]
    if text is not None:
        deltas += [{"content": p} for p in ([text] if isinstance(text, str) else text)]
    for i, c in enumerate(calls):
        args = c["function"]["arguments"]
        cut = max(1, len(args) // 2)
        deltas.append({"tool_calls": [{**c, "index": i, "function": {**c["function"], "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": i, "function": {"arguments": a}}]} for a in (args[:cut], args[cut:]) if a]
    parts = [sse(chunk(d)) for d in deltas]
    if done:
        parts.append(sse(chunk({}, finish or ("tool_calls" if calls else "stop"))))
        if use is not False:
            parts.append(sse({**chunk({}), "choices": [], "usage": use or usage()}))
        parts.append(b"data: [DONE]\n\n")
    return Answer(headers={"content-type": "text/event-stream"}, parts=parts, pause=pause, end=end)


def either(text=None, calls=(), **kw):
    """A stream or a whole answer, as the request asks."""
    def choose(seen: Seen) -> Answer:
        return (stream if seen.body.get("stream") else whole)(text=text, calls=calls, **kw)
    return choose


def error(status, message="no", type="invalid_request_error", code=None, headers=None) -> Answer:
    body = {"error": {"message": message, "type": type, "param": None, "code": code}}
    return Answer(status, {"content-type": "application/json", **(headers or {})}, [json.dumps(body).encode()])


class Upstream:
    """Answers come from the queue, the last one for ever; an answer may be a function of the request."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._queue: list = []
        self._lock = threading.Lock()
        outer = self

        class OneRequest(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer._answer(self, b"")

            def do_POST(self):
                outer._answer(self, outer._body(self))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass                      # the proxy hung up: that is what some cases are about

        self._server = Server(("127.0.0.1", 0), OneRequest)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def play(self, *answers) -> None:
        with self._lock:
            self._queue, self.seen = list(answers), []

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    @property
    def only(self) -> Seen:
        assert len(self.seen) == 1, f"{len(self.seen)} requests reached the upstream"
        return self.seen[0]

    @staticmethod
    def _body(h) -> bytes:
        if "chunked" in h.headers.get("transfer-encoding", "").lower():
            out = b""
            while size := int(h.rfile.readline().split(b";")[0], 16):
                out += h.rfile.read(size)
                h.rfile.readline()
            h.rfile.readline()
            return out
        return h.rfile.read(int(h.headers.get("content-length") or 0))

    @staticmethod
    def _hang(h, seen: Seen) -> None:
        """Says nothing until the other side closes, five minutes at most."""
        h.close_connection = True
        h.connection.settimeout(300)
        try:
            while h.connection.recv(1024):
                pass
        except TimeoutError:
            return
        except OSError:
            pass                          # a reset closes it too
        seen.closed = time.monotonic()

    def _answer(self, h, raw: bytes) -> None:
        seen = Seen(h.command, h.path, {k.lower(): v for k, v in h.headers.items()}, raw)
        try:
            seen.body = json.loads(raw) if raw else None
        except ValueError:
            pass
        with self._lock:
            self.seen.append(seen)
            a = None
            if self._queue:
                a = self._queue.pop(0) if len(self._queue) > 1 else self._queue[0]
        if callable(a):
            a = a(seen)
        if a is None:
            a = error(500, "the test has no answer for this request", "server_error")
        time.sleep(a.delay)
        if a.end == "hang" and not a.parts:
            self._hang(h, seen)
            return
        if a.end == "none":
            h.close_connection = True
            return
        streamed = "event-stream" in a.headers.get("content-type", "")
        h.send_response(a.status)
        for k, v in a.headers.items():
            h.send_header(k, v)
        if streamed or a.end != "clean":
            h.send_header("transfer-encoding", "chunked")
        else:
            h.send_header("content-length", str(sum(map(len, a.parts))))
        h.end_headers()
        for i, part in enumerate(a.parts):
            if i and a.pause:
                time.sleep(a.pause)
            if streamed or a.end != "clean":
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b""
            h.wfile.write(part)
            h.wfile.flush()
        if a.end == "clean":
            if streamed:
                h.wfile.write(b"0\r\n\r\n")
            return
        if a.end == "hang":
            self._hang(h, seen)
            return
        time.sleep(0.1)                   # let the other side read what was sent
        if a.end == "reset":
            h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            h.connection.close()
        h.close_connection = True
