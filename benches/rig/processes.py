"""The processes of a run: the mock, the targets, the load generator."""
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import targets as targ

HERE = pathlib.Path(__file__).resolve().parent


class Context:
    """What all targets of a run share."""

    def __init__(self, out=None):
        self.out = pathlib.Path(out or tempfile.mkdtemp(prefix="bench-")).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.bin = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")).resolve() / "release"
        self.peers = os.environ.get("BENCH_PEERS", str(HERE / "out" / "peers"))
        self.mock = f"127.0.0.1:{targ.BASE - 1}"
        self.mock_proc = None
        # Streams need descriptors, two each in a proxy; the processes inherit the limit.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def start_mock(self):
        if listening(targ.BASE - 1):
            raise RuntimeError(f"port {targ.BASE - 1} is taken: another run?")
        self.mock_proc = subprocess.Popen([f"{self.bin}/mock", "--listen", self.mock], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not listening(targ.BASE - 1):
            if self.mock_proc.poll() is not None:
                raise RuntimeError("the mock did not start")
            time.sleep(0.05)

    def stop_mock(self):
        stop(self.mock_proc)


def children(pid):
    """pid and all its descendants."""
    kids = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                with open(f"/proc/{d}/stat") as f:
                    ppid = int(f.read().rsplit(")", 1)[1].split()[1])
                kids.setdefault(ppid, []).append(int(d))
            except (OSError, IndexError, ValueError):
                pass
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def stop(proc):
    """Ends a process this script started, and the children it left."""
    if proc is None:
        return
    pids = children(proc.pid)
    for sig, wait in ((signal.SIGTERM, 3), (signal.SIGKILL, 2)):
        for p in pids:
            try:
                os.kill(p, sig)
            except ProcessLookupError:
                pass
        end = time.time() + wait
        while time.time() < end:
            proc.poll()
            if not any(os.path.exists(f"/proc/{p}") for p in pids):
                return
            time.sleep(0.05)


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.3).close()
        return True
    except OSError:
        return False


def foreign_share(secs=0.4):
    """Share of the machine busy right now (call it while nothing of ours runs)."""
    def read():
        f = [int(x) for x in open("/proc/stat").readline().split()[1:]]
        return sum(f[:3]) + sum(f[5:7]), sum(f[:8])
    a = read()
    time.sleep(secs)
    b = read()
    return (b[0] - a[0]) / max(1, b[1] - a[1])


class Target:
    def __init__(self, d, i, ctx):
        self.d, self.name, self.ctx = d, d["name"], ctx
        self.port = targ.BASE + i
        self.kind = d.get("kind", "fast")
        self.direct = d.get("direct", False)
        self.streams = d.get("streams", True)
        self.work = ctx.out / "work" / self.name
        self.proc = None
        self.url = (f"http://{ctx.mock}" if self.direct else f"http://127.0.0.1:{self.port}") + d.get("path", "/v1/messages")

    def fill(self, s):
        return s.format(port=self.port, mock=self.ctx.mock, work=self.work, bin=self.ctx.bin, peers=self.ctx.peers)

    def missing(self):
        for n in self.d.get("needs", []):
            if not os.path.exists(self.fill(n)):
                return n
        if "which" in self.d and not shutil.which(self.d["which"]):
            return self.d["which"]
        return None

    def start(self, step=0.1):
        """Starts it and waits until it listens, looking every `step` seconds."""
        if self.direct:
            return
        self.work.mkdir(parents=True, exist_ok=True)
        for name, text in self.d.get("files", {}).items():
            p = self.work / name
            p.parent.mkdir(parents=True, exist_ok=True)
            p.write_text(self.fill(text))
        env = dict(os.environ, **{k: self.fill(v) for k, v in self.d.get("env", {}).items()})
        if listening(self.port):
            raise RuntimeError(f"{self.name}: port {self.port} is taken")
        with open(self.work / "log", "ab") as log:
            self.proc = subprocess.Popen([self.fill(c) for c in self.d["cmd"]], cwd=self.fill(self.d.get("cwd", "{work}")),
                                         env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.time() + self.d.get("start_s", 15)
        while not listening(self.port):
            if self.proc.poll() is not None:
                raise RuntimeError(f"{self.name}: exited with {self.proc.returncode}; see {self.work / 'log'}")
            if time.time() > end:
                raise RuntimeError(f"{self.name}: not listening; see {self.work / 'log'}")
            time.sleep(step)

    def stop(self):
        stop(self.proc)
        self.proc = None

    def pids(self):
        return [] if self.direct else children(self.proc.pid)

    def load(self, spec, args, timeout):
        pids = self.pids()
        for p in pids:  # peak RSS starts anew
            try:
                with open(f"/proc/{p}/clear_refs", "w") as f:
                    f.write("5")
            except OSError:
                pass
        cmd = [f"{self.ctx.bin}/load", "--url", self.url, "--spec", spec, "--model", self.d.get("model", "{}"),
               "--mock-pid", str(self.ctx.mock_proc.pid), "--pids", ",".join(map(str, pids))] + args
        for h in self.d.get("headers", []):
            cmd += ["--header", h]
        r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, text=True)
        if "--once" in args or "--dump" in args:
            return r.stdout
        if r.returncode:
            raise RuntimeError(r.stderr[-400:])
        return json.loads(r.stdout)


def close_wait(port):
    """Connections of the mock whose other side has hung up (state 08 of its local port)."""
    n = 0
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        f = line.split()
        n += f[1].endswith(f":{port:04X}") and f[3] == "08"
    return n


def mock_stats(ctx):
    host, port = ctx.mock.split(":")
    s = socket.create_connection((host, int(port)), 2)
    s.sendall(b"GET /stats HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\r\n")
    data = b""
    while b := s.recv(65536):
        data += b
    return json.loads(data.split(b"\r\n\r\n", 1)[1])




def machine():
    """Where and when, for the head of a report."""
    with open("/proc/cpuinfo") as f:
        cpu = next((x.split(":", 1)[1].strip() for x in f if x.startswith("model name")), "?")
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} x {cpu}, Linux {os.uname().release}"
