"""What a proxy captured, through `claude-proxy convert --replay`: everything must come out as it did."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

from proxy import Proxy, binary

CAPTURE = ("--capture", "exchanges")


def check(proxy: Proxy, what: str):
    """Ends the proxy, so that everything is written, and yields what differs."""
    proxy.stop()
    p = subprocess.run([binary(), "convert", "--replay", "--json", "exchanges"], cwd=proxy.dir.name, stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=120)
    try:
        report = json.loads(p.stdout)
    except ValueError:
        yield f"replay {what}", f"exit code {p.returncode}, no report: {p.stdout[:200]!r} {p.stderr[:300]!r}"
        return
    if not report["exchanges"]:
        yield f"replay {what}", "nothing was captured"
    for n, exchange in enumerate(report["exchanges"]):
        asked = (Path(proxy.dir.name) / exchange["folder"] / "client-request.json").read_text(errors="replace")
        wrong = None if exchange["result"] == "same" and exchange["note"] is None else \
            f"{json.dumps(exchange, ensure_ascii=False)[:800]} for {asked[:200]}"
        yield f"replay {what} {n}", wrong
