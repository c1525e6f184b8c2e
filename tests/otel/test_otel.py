"""Spans, as a collector gets them: a program built with the feature `otel` (CLAUDE_PROXY_OTEL_BIN)."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from receiver import Collector, Upstream, attributes

BINARY = os.environ["CLAUDE_PROXY_OTEL_BIN"]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRETS = ["sk-upstream-sentinel", "sk-inbound-sentinel", "a secret question", "a secret answer", "header-sentinel"]


class Proxy:
    def __init__(self, folder: Path, upstream: Upstream, env: dict, **settings):
        folder.mkdir(exist_ok=True)
        config = {"port": 0, "ak": "sk-inbound-sentinel", "vision_model": "eye",
                  "providers": [{"name": "up", "base_url": upstream.url, "api_key": "sk-upstream-sentinel",
                                 "headers": {"x-more": "header-sentinel"},
                                 "models": [{"id": "m", "remote_id": "remote-m", "vision": False}, {"id": "eye"}]}]}
        config.update(settings)
        (folder / "config.json").write_text(json.dumps(config))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_") and "proxy" not in k.lower()}
        self.log = folder / "log"
        command = [BINARY, "serve", "--log-format", "json", "--log-level", "trace"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env={**clean, **env}, stdout=log, stderr=log)
        until(lambda: "listens on " in self.text() or self.process.poll() is not None)
        at = re.search(r"listens on http://([\d.]+):(\d+)", self.text())
        self.at = (at[1], int(at[2])) if at else None

    def text(self):
        return self.log.read_text()

    def ask(self, text, trace=None, stream=False, image=False):
        content = [{"type": "text", "text": text}]
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": "aW1hZ2U="}
            content.append({"type": "image", "source": source})
        body = {"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": content}]}
        headers = {"authorization": "Bearer sk-inbound-sentinel"} | ({"traceparent": trace} if trace else {})
        connection = http.client.HTTPConnection(*self.at, timeout=60)
        connection.request("POST", "/v1/messages", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def lines(self, message):
        lines = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("message") == message]


def until(so):
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


@pytest.fixture
def upstream():
    return Upstream()


@pytest.fixture
def start(tmp_path, upstream):
    running = []

    def begin(collector=None, settings=None, **env):
        if collector:
            env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
        running.append(Proxy(tmp_path / str(len(running)), upstream, env, **(settings or {})))
        return running[-1]

    yield begin
    for proxy in running:
        if proxy.process.poll() is None:
            proxy.process.kill()
            proxy.process.wait()
        for secret in SECRETS[:2] + SECRETS[4:]:
            assert secret not in proxy.text()


def kind(spans, kind):
    return [span for span in spans if span.kind == kind]


def test_a_request_and_what_it_asks(start, upstream):
    collector = Collector()
    proxy = start(collector, OTEL_SERVICE_NAME="the proxy", OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
                  OTEL_EXPORTER_OTLP_HEADERS="x-token=abc%20d")
    answer = proxy.ask("a secret question", f"00-{TRACE}-{PARENT}-01")
    assert answer.status == 200
    assert proxy.stop() == 0
    path, headers = collector.posts[0]
    assert path == "/v1/traces" and headers["content-type"] == "application/x-protobuf"
    assert headers["x-token"] == "abc d"
    resource = collector.resources[0]
    assert resource["service.name"] == "the proxy" and resource["deployment.environment.name"] == "test"
    assert re.fullmatch(r"\d+\.\d+\.\d+", resource["service.version"]) and collector.scopes == ["claude-proxy"]
    [server], [client] = kind(collector.spans, Span.SPAN_KIND_SERVER), kind(collector.spans, Span.SPAN_KIND_CLIENT)
    assert server.name == "POST /v1/messages" and client.name == "chat remote-m"
    assert server.trace_id.hex() == client.trace_id.hex() == TRACE
    assert server.parent_span_id.hex() == PARENT and client.parent_span_id == server.span_id
    sent = upstream.heads[0]["traceparent"]
    assert sent == f"00-{TRACE}-{client.span_id.hex()}-01"
    assert server.start_time_unix_nano <= client.start_time_unix_nano <= client.end_time_unix_nano
    assert server.status.code == client.status.code == Status.STATUS_CODE_UNSET
    assert [e.name for e in server.events] == ["first_byte"] and [e.name for e in client.events] == ["first_byte"]
    said = attributes(server.attributes)
    assert said == {
        "http.request.method": "POST", "http.route": "/v1/messages", "http.response.status_code": 200,
        "claude_proxy.request_id": answer.headers["request-id"], "claude_proxy.outcome": "done",
        "claude_proxy.attempts": 1, "claude_proxy.retries": 0, "claude_proxy.rotations": 0,
        "claude_proxy.fallbacks": 0, "claude_proxy.stream": False,
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.provider.name": "up",
        "gen_ai.response.model": "remote-m", "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ["end_turn"],
    }
    assert attributes(client.attributes) == {
        "http.request.method": "POST", "server.address": "127.0.0.1", "server.port": upstream.server.server_address[1],
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "up", "gen_ai.request.model": "remote-m",
        "claude_proxy.attempt": 1, "http.response.status_code": 200,
    }
    [line] = proxy.lines("request")
    assert line["trace_id"] == TRACE


def test_second_attempts_side_requests_and_streams(start, upstream):
    collector = Collector()
    proxy = start(collector)
    assert proxy.ask("refuse", image=True).status == 200
    assert proxy.ask("hi", stream=True).status == 200
    assert proxy.ask("cut", stream=True).status == 200
    assert proxy.stop() == 0
    assert collector.resources[0]["service.name"] == "claude-proxy"
    servers = {attributes(s.attributes)["claude_proxy.outcome"]: s for s in kind(collector.spans, Span.SPAN_KIND_SERVER)}
    assert set(servers) == {"done", "failed"}
    assert len({s.trace_id for s in collector.spans}) == 3, "each request begins a trace of its own"
    assert all(s.parent_span_id == b"" for s in kind(collector.spans, Span.SPAN_KIND_SERVER))
    failed = servers["failed"]
    assert failed.status.code == Status.STATUS_CODE_ERROR and failed.status.message == ""
    assert attributes(failed.attributes)["error.type"] == "failed"
    [side] = kind(collector.spans, Span.SPAN_KIND_INTERNAL)
    assert side.name == "side request vision"
    of_side = [s for s in collector.spans if s.parent_span_id == side.span_id]
    # The 503 went to whoever asked first: the question about the image.
    attempts = sorted((attributes(s.attributes) for s in of_side), key=lambda a: a["claude_proxy.attempt"])
    assert [a["http.response.status_code"] for a in attempts] in ([503, 200], [200])
    both = [attributes(s.attributes) for s in kind(collector.spans, Span.SPAN_KIND_CLIENT)]
    [refused] = [a for a in both if a["http.response.status_code"] == 503]
    assert refused["error.type"] == "503"
    [again] = [a for a in both if a["claude_proxy.attempt"] == 2]
    assert again["http.request.resend_count"] == 1 and again["http.response.status_code"] == 200
    sent = {head["traceparent"].split("-")[2] for head in upstream.heads}
    assert sent == {s.span_id.hex() for s in kind(collector.spans, Span.SPAN_KIND_CLIENT)}


def test_nothing_secret_is_exported(start):
    collector = Collector()
    proxy = start(collector)
    for stream in (False, True):
        proxy.ask("a secret question", stream=stream)
        proxy.ask("a secret question, refuse", stream=stream, image=True)
        proxy.ask("a secret question, cut", stream=stream)
    assert proxy.stop() == 0
    assert len(collector.spans) >= 12
    for secret in SECRETS:
        assert secret.encode() not in collector.raw, secret


def test_an_upstream_that_is_not_there(start):
    collector = Collector()
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        provider = {"name": "gone", "base_url": f"http://127.0.0.1:{gone.getsockname()[1]}", "api_key": "",
                    "models": [{"id": "m"}, {"id": "eye"}]}
        proxy = start(collector, {"providers": [provider]})
        assert proxy.ask("hi").status == 502
    assert proxy.stop() == 0
    clients = kind(collector.spans, Span.SPAN_KIND_CLIENT)
    assert len(clients) == 2
    for span in clients:
        said = attributes(span.attributes)
        assert said["claude_proxy.fault.stage"] == "connect" and said["error.type"] == "fault_connect"
        assert span.status.code == Status.STATUS_CODE_ERROR
    [server] = kind(collector.spans, Span.SPAN_KIND_SERVER)
    assert attributes(server.attributes)["error.type"] == "502" and server.status.code == Status.STATUS_CODE_ERROR


@pytest.mark.parametrize(("sampler", "arg", "sampled", "unsampled", "root"), [
    (None, None, True, False, True),
    ("always_off", None, False, False, False),
    ("always_on", None, True, True, True),
    ("parentbased_always_off", None, True, False, False),
    ("traceidratio", "0", False, False, False),
    ("parentbased_traceidratio", "1", True, False, True),
])
def test_samplers(start, upstream, sampler, arg, sampled, unsampled, root):
    collector = Collector()
    env = {k: v for k, v in {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": arg}.items() if v}
    proxy = start(collector, **env)
    proxy.ask("hi", f"00-{TRACE}-{PARENT}-01")
    proxy.ask("hi", f"00-{TRACE}-{PARENT}-00")
    proxy.ask("hi")
    assert proxy.stop() == 0
    want = [sampled, unsampled, root]
    assert [head["traceparent"].endswith("-01") for head in upstream.heads] == want
    assert len(kind(collector.spans, Span.SPAN_KIND_SERVER)) == sum(want)


def test_without_an_endpoint_or_switched_off_nothing_is_sent(start, upstream):
    collector = Collector()
    for env in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SDK_DISABLED": "true"},
                {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_EXPORTER": "none"}):
        proxy = start(**env)
        assert proxy.ask("hi").status == 200
        assert upstream.heads[-1].get("traceparent") is None
        assert proxy.stop() == 0
    assert collector.posts == []


def test_a_collector_that_is_down_or_hangs_harms_nobody(start):
    down = Collector()
    down.server.server_close()
    proxy = start(down, OTEL_BSP_SCHEDULE_DELAY="100")
    for _ in range(5):
        assert proxy.ask("hi").status == 200
    until(lambda: proxy.lines("spans were lost"))
    assert "cannot be reached" in proxy.lines("spans were lost")[0]["error"]
    assert proxy.stop() == 0
    assert sum(line["spans"] for line in proxy.lines("spans were lost")) == 10

    refusing = Collector()
    refusing.status = 401
    proxy = start(refusing)
    assert proxy.ask("hi").status == 200
    assert proxy.stop() == 0
    [line] = proxy.lines("spans were lost")
    assert (line["spans"], line["error"]) == (2, "the collector answered with HTTP 401")

    hanging = Collector()
    hanging.hang = True
    proxy = start(hanging, OTEL_BSP_SCHEDULE_DELAY="50", OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4")
    for _ in range(20):
        assert proxy.ask("hi").status == 200
    assert proxy.stop() == 0, "it ends although spans wait"
    assert sum(line["spans"] for line in proxy.lines("spans were lost")) == 40
    hanging.hang = False


def test_a_collector_by_tls(start, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=collector",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    collector = Collector(context)
    proxy = start(collector, OTEL_EXPORTER_OTLP_CERTIFICATE=str(cert))
    assert proxy.ask("hi").status == 200
    assert proxy.stop() == 0
    assert len(collector.spans) == 2
    # Without its certificate it is a stranger.
    proxy = start(collector)
    assert proxy.ask("hi").status == 200
    assert proxy.stop() == 0
    assert len(collector.spans) == 2 and len(proxy.lines("spans were lost")) == 1


@pytest.mark.parametrize(("name", "value"), [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_TRACES_SAMPLER", "sometimes"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "nowhere.pem"),
])
def test_what_cannot_be_followed_ends_the_start(start, name, value):
    proxy = start(**{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"
                     if name != "OTEL_EXPORTER_OTLP_ENDPOINT" else "", name: value})
    assert proxy.process.wait(60) == 1
    assert name in proxy.text()
