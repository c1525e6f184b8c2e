"""A scripted OTLP endpoint, which reads what comes with OpenTelemetry's own message classes, and an upstream."""

import http.server
import json
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


def server(handler, context=None):
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    running.daemon_threads = True
    scheme = "http"
    if context:
        scheme = "https"
        running.socket = context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    return running, f"{scheme}://127.0.0.1:{running.server_address[1]}"


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(v) for v in value.array_value.values]
    return getattr(value, kind)


def attributes(pairs):
    return {pair.key: plain(pair.value) for pair in pairs}


class Collector:
    """Keeps spans; `status` is what it answers, `hang` makes it say nothing."""

    def __init__(self, context=None):
        self.spans, self.resources, self.scopes, self.posts, self.raw = [], [], [], [], b""
        self.status, self.hang = 200, False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.posts.append((self.path, dict(self.headers.items())))
                outer.raw += body
                while outer.hang:
                    time.sleep(0.05)
                if outer.status == 200:
                    outer.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(outer.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self.server, self.url = server(Handler, context)

    def take(self, request):
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.scopes.append(scope.scope.name)
                self.spans.extend(scope.spans)


class Upstream:
    """Answers Chat Completions; `refuse` in the text: 503 the first time; `cut`: ends in the middle."""

    def __init__(self):
        self.heads = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = json.dumps(body["messages"])
                outer.heads.append(self.headers)
                if "refuse" in text and sum("refuse" in str(h.get("x-seen")) for h in outer.heads) == 0:
                    outer.heads[-1]["x-seen"] = "refuse"
                    return self.answer(503, {"error": {"message": "busy sk-upstream-sentinel"}})
                if body.get("stream"):
                    return self.stream("cut" in text)
                message = {"role": "assistant", "content": "a secret answer"}
                self.answer(200, {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                                  "usage": {"prompt_tokens": 11, "completion_tokens": 3,
                                            "prompt_tokens_details": {"cached_tokens": 4}}})

            def answer(self, status, value):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def stream(self, cut):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                events = ['{"choices":[{"index":0,"delta":{"content":"a secret answer"}}]}',
                          '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
                          '{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}', "[DONE]"]
                for event in events[:1] if cut else events:
                    piece = f"data: {event}\n\n".encode()
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                if cut:
                    self.close_connection = True
                    return
                self.wfile.write(b"0\r\n\r\n")

        self.server, self.url = server(Handler)
