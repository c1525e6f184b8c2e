"""Stands between Claude Code and the proxy, and keeps what went through."""
from __future__ import annotations

import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}


@dataclass
class Exchange:
    path: str
    status: int
    answer: bytes = field(default=b"", repr=False)


class Relay:
    def __init__(self, port: int) -> None:
        self.seen: list[Exchange] = []
        outer = self

        class OneRequest(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
                try:
                    upstream.request(self.command, self.path, raw, {k: v for k, v in self.headers.items() if k.lower() not in HOP})
                    r = upstream.getresponse()
                    exchange = Exchange(self.path, r.status)
                    outer.seen.append(exchange)
                    self.send_response(r.status)
                    for k, v in r.getheaders():
                        if k.lower() not in HOP:
                            self.send_header(k, v)
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    while data := r.read1(65536):
                        exchange.answer += data
                        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                    self.wfile.write(b"0\r\n\r\n")
                finally:
                    upstream.close()

            do_GET = do_POST

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), OneRequest)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
