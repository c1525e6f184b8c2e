"""How late a stream's events are while Claude Code counts: 25 counts of 120 KB at once, again and again.

    cargo build --release && python3 benches/beside_a_stream.py [SECONDS]

env: CLAUDE_PROXY_BIN=path   this binary instead of target/release/claude-proxy
Rounds without and with counts alternate, SECONDS each (5). Every event carries the time when the upstream sent it.
Linux, Python's standard library. On a machine busy with other work only the difference says something.
"""
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = os.environ.get("CLAUDE_PROXY_BIN") or ROOT / "target/release/claude-proxy"
ROUNDS, EVENTS_PER_SECOND, AT_ONCE = 5, 100, 25


def upstream(port, seconds):
    """Sends the time, a hundred times a second."""
    server = socket.create_server(("127.0.0.1", port))
    while True:
        client, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.recv(1 << 16)
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        began = time.monotonic()
        for n in range(int(seconds * EVENTS_PER_SECOND)):
            time.sleep(max(0, began + n / EVENTS_PER_SECOND - time.monotonic()))
            delta = {"choices": [{"index": 0, "delta": {"content": f"<{time.monotonic_ns()}>"}}]}
            client.sendall(b"data: " + json.dumps(delta).encode() + b"\n\n")
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        client.sendall(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")
        client.close()


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer


def stream(port):
    """Prints by how many microseconds each event was late."""
    body = {"model": "m", "max_tokens": 9999, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    answer, late = post(port, "/v1/messages", json.dumps(body)), []
    while line := answer.readline():
        if b"text_delta" in line:
            now, sent = time.monotonic_ns(), line.partition(b"<")[2].partition(b">")[0]
            late.append((now - int(sent)) // 1000)
    print(json.dumps(late))


def bodies():
    """120 KB each, no two alike."""
    code = "".join(p.read_text() for p in sorted(ROOT.glob("src/**/*.rs")))
    at = 0
    while True:
        messages = []
        for _ in range(40):
            messages.append({"role": "user", "content": f"{at} {code[at % (len(code) - 2900):][:2900]}"})
            at += 2963
        yield json.dumps({"model": "m", "messages": messages})


def counting(port, until, took):
    made = bodies()
    while time.monotonic() < until:
        batch = [next(made) for _ in range(AT_ONCE)]
        began = time.monotonic()
        threads = [threading.Thread(target=lambda b=b: post(port, "/v1/messages/count_tokens", b).read()) for b in batch]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took.append(time.monotonic() - began)
        time.sleep(0.3)


def main(seconds):
    with tempfile.TemporaryDirectory() as home:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            port, up = a.getsockname()[1], b.getsockname()[1]
        config = Path(home) / "config.json"
        config.write_text(json.dumps({"port": port, "workers": 1, "providers": [
            {"name": "up", "base_url": f"http://127.0.0.1:{up}", "api_key": "k", "models": [{"id": "m"}]}]}))
        us = [sys.executable, __file__]
        running = [subprocess.Popen([*us, "upstream", str(up), str(seconds)]),
                   subprocess.Popen([BIN, "serve", "--config", config], stderr=subprocess.DEVNULL)]
        late, took = {"without": [], "with": []}, []
        try:
            time.sleep(1)
            post(port, "/v1/messages/count_tokens", next(bodies())).read()
            for _ in range(ROUNDS):
                for kind, all_of in late.items():
                    client = subprocess.Popen([*us, "stream", str(port)], stdout=subprocess.PIPE)
                    if kind == "with":
                        counting(port, time.monotonic() + seconds - 0.5, took)
                    all_of.append(sorted(json.loads(client.communicate()[0])))
        finally:
            for process in running:
                process.kill()
                process.wait()
    print("| counts | p50 us | p99 us | most us |\n|---|--:|--:|--:|")
    for kind, rounds in late.items():
        middle = [sorted(r[min(int(len(r) * q), len(r) - 1)] for r in rounds)[ROUNDS // 2] for q in (0.5, 0.99, 1)]
        print(f"| {kind} | {' | '.join(f'{n:,}' for n in middle)} |")
    took.sort()
    print(f"\nMedians of {ROUNDS} rounds. {AT_ONCE} counts: {took[len(took) // 2] * 1000:.0f} ms (median of {len(took)})")


match sys.argv[1:]:
    case ["upstream", port, seconds]:
        upstream(int(port), float(seconds))
    case ["stream", port]:
        stream(int(port))
    case rest:
        main(float(rest[0]) if rest else 5.0)
