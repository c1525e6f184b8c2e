"""WebSearch and WebFetch: with `web_search` in the configuration the proxy carries the search out."""
from __future__ import annotations

import functools
import http.server
import json
import ssl
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

from stage import results_of, scenario, text_of, tools_of
from tools import loop
from upstream import Answer, Upstream, call, either

HITS = [{"title": "Weather in London", "url": "https://weather.example.org/london", "content": "Rain, 11 degrees."},
        {"title": "Other", "url": "https://other.example.com/", "content": "Something else."}]


@contextmanager
def search_service():
    service = Upstream()
    service.play(Answer(headers={"content-type": "application/json"}, parts=[json.dumps({"results": HITS}).encode()]))
    try:
        yield service
    finally:
        service.stop()


@scenario
def web_search_carried_out(t):
    """Claude Code's WebSearch: a side request with the server tool, which the proxy carries out in two rounds."""
    def answer(seen):
        if "web_search" not in tools_of(seen):
            return loop(call("call_find", "ToolSearch", {"query": "select:WebSearch"}),
                        call("call_search", "WebSearch", {"query": "weather in London"}), "Take an umbrella.")(seen)
        if not results_of(seen):
            return either("I search.", [call("call_web", "web_search", {"query": "weather London today"})])(seen)
        return either("It rains in London: [Weather](https://weather.example.org/london).")(seen)
    with search_service() as service:
        t.serve(web_search={"provider": "searxng", "base_url": service.url})
        t.up.play(answer)
        s = t.claude("How is the weather in London?")
        asked = [r.path for r in service.seen]
    assert s.answer == "Take an umbrella.", s.answer
    found = s.outputs()["call_search"]
    assert "It rains in London" in found and "https://weather.example.org/london" in found and "Weather in London" in found, found
    assert len(asked) == 1 and "weather" in asked[0], asked
    side = [r for r in t.up.seen if "web_search" in tools_of(r)]
    assert len(side) == 2 and side[1].messages[:len(side[0].messages)] == side[0].messages
    told, = results_of(side[1]).values()
    assert "Rain, 11 degrees." in told and "https://weather.example.org/london" in told, told
    assert "https://weather.example.org/london" in results_of(t.up.last)["call_search"], "the model is told of the source"


@scenario
def web_search_that_fails(t):
    """The service is down: Claude Code gets an answer that says so."""
    def answer(seen):
        if "web_search" not in tools_of(seen):
            return loop(call("call_find", "ToolSearch", {"query": "select:WebSearch"}),
                        call("call_search", "WebSearch", {"query": "weather in London"}), "I cannot tell.")(seen)
        if not results_of(seen):
            return either(None, [call("call_web", "web_search", {"query": "weather"})])(seen)
        return either("The search did not work.")(seen)
    t.serve(web_search={"provider": "searxng", "base_url": "http://127.0.0.1:1"})
    t.up.play(answer)
    s = t.claude("How is the weather in London?")
    found = s.outputs()["call_search"]
    assert s.answer == "I cannot tell." and "The search did not work." in found and "unavailable" in found, found


@contextmanager
def https_page(t, text: str):
    """A page behind HTTPS, which is all that WebFetch asks for, and the certificate to trust."""
    folder = Path(t.home) / "page"
    folder.mkdir()
    (folder / "index.html").write_text(f"<html><title>Page</title><h1>Heading</h1><p>{text}</p></html>")
    key, cert = Path(t.home) / "key.pem", Path(t.home) / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/", cert
    finally:
        server.shutdown()
        server.server_close()


@scenario
def web_fetch(t):
    """Claude Code fetches the page itself, once it need not ask claude.ai; a model of the proxy's reads it."""
    with https_page(t, "The magic word is xyzzy.") as (url, cert):
        def answer(seen):
            if not tools_of(seen):
                assert "xyzzy" in text_of(seen.messages[-1]["content"]), "the page is in the side request"
                return either("The word is xyzzy, says the page.")(seen)
            return loop(call("call_find", "ToolSearch", {"query": "select:WebFetch"}),
                        call("call_fetch", "WebFetch", {"url": url, "prompt": "What is the magic word?"}), "It is xyzzy.")(seen)
        t.up.play(answer)
        s = t.claude(f"What is the magic word at {url}?", "--settings", json.dumps({"skipWebFetchPreflight": True}),
                     env={"NODE_EXTRA_CA_CERTS": str(cert)})
    assert s.answer == "It is xyzzy." and "The word is xyzzy" in s.outputs()["call_fetch"], s.outputs()
    assert "The word is xyzzy" in results_of(t.up.last)["call_fetch"]
