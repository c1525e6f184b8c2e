"""The scenarios. Each is one window of load per target and round.

unit   what CPU is counted per: request or 1,000 events
rounds at most so many;  secs: length of the window
skip   kinds of target spared (targets.py: fast | medium | slow; floors are fast)
conc   may be lowered per kind with conc_<kind>
fresh  the target is started anew, so that RSS growth per open stream can be read
model  of the answer: see bench_rig::Spec
"""

SCENARIOS = [
    # One client at a time: the unloaded latency a proxy adds.
    dict(name="ns-small-c1", text="non-stream, 300 B in, 1 KB out, 1 client", spec="bench-t1-0-600",
         args=["--conc", "1"], unit="req"),
    # Saturation: how much one machine carries, and CPU per request.
    dict(name="ns-small-c16", text="the same, 16 clients", spec="bench-t1-0-600", args=["--conc", "16"], unit="req"),
    dict(name="ns-agent-c4", text="120 KB Claude-Code-like request, 1 KB out, 4 clients", spec="bench-t1-0-600",
         args=["--body", "claude", "--conc", "4"], unit="req"),
    dict(name="ns-bigout-c4", text="300 B in, 200 KB out, 4 clients", spec="bench-t1-0-200000",
         args=["--conc", "4"], unit="req"),
    dict(name="ns-huge-c2", text="2 MB request with base64 images, 1 KB out, 2 clients", spec="bench-t1-0-600",
         args=["--body", "huge", "--conc", "2"], unit="req"),
    # Streams as fast as they go: CPU per event.
    dict(name="st-text-c4", text="256 text deltas, one per upstream write, no delay, 4 clients", spec="bench-t256-0-24",
         args=["--stream", "1", "--conc", "4"], unit="kev"),
    dict(name="st-batch-c4", text="1,024 text deltas, 16 per upstream write, no delay, 4 clients",
         spec="bench-t1024-0-24-k16", args=["--stream", "1", "--conc", "4"], unit="kev"),
    dict(name="st-tool-c4", text="256 tool-argument deltas, one per write, no delay, 4 clients", spec="bench-f256-0-24",
         args=["--stream", "1", "--conc", "4"], unit="kev"),
    # Streams at a model's pace: the delay added to the first and to each event.
    dict(name="st-pace-c8", text="120 KB request, 100 deltas 10 ms apart, 8 clients", spec="bench-t100-10000-24",
         args=["--body", "claude", "--stream", "1", "--conc", "8", "--ramp", "1"], unit="kev"),
    # Open loop: latency from the scheduled time, at a rate everyone can carry.
    dict(name="open-50", text="open loop, 50 requests/s, 300 B in, 1 KB out", spec="bench-t1-0-600",
         args=["--mode", "open", "--rate", "50"], unit="req"),
    dict(name="open-1000", text="open loop, 1,000 requests/s, 300 B in, 1 KB out", spec="bench-t1-0-600",
         args=["--mode", "open", "--rate", "1000"], unit="req", skip=["slow", "medium"]),
    # Many open streams: memory and CPU to hold them.
    dict(name="hold-200", text="200 streams x 20 events/s held open", spec="bench-t2000-50000-24",
         args=["--stream", "1", "--conc", "200", "--ramp", "2", "--warmup", "1", "--timeout", "120"], unit="kev",
         fresh=True, rounds=1, secs=4),
    dict(name="hold-2000", text="2,000 streams x 10 events/s held open", spec="bench-t2000-100000-24",
         args=["--stream", "1", "--conc", "2000", "--ramp", "4", "--warmup", "1", "--timeout", "120"], unit="kev",
         fresh=True, rounds=1, secs=5, skip=["slow"]),
]


def growth():
    """One dimension at a time, from small to large; `x` is where on it. A target that fails, or needs seconds for one
    request (fewer than half of `least` in a long window), is spared what is larger."""
    out = []
    for dim, xs in (("messages", (1, 10, 50, 200, 500, 1000, 2000)), ("tools", (0, 1, 5, 20, 50, 100, 200)),
                    ("bytes", (1000, 10_000, 100_000, 1_000_000, 10_000_000, 30_000_000))):
        for x in xs:
            out.append(dict(name=f"{dim}-{x}", dim=dim, x=x, text=f"request with {dim} {x:,}, 1 KB out, 1 client", spec="bench-t1-0-600",
                            args=["--body", f"{dim}-{x}", "--conc", "1", "--timeout", "60"], unit="req", least=8, secs=1.0))
    for x in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000):
        n = max(8, min(256, 4_000_000 // x))
        out.append(dict(name=f"event-{x}", dim="event", x=x, text=f"{n} text deltas of {x:,} B, one per write, no delay, 2 clients",
                        spec=f"bench-t{n}-0-{x}", args=["--stream", "1", "--conc", "2", "--timeout", "60"], unit="kev", least=4, secs=1.0))
    for x in (1, 10, 100, 1000, 5000):
        out.append(dict(name=f"streams-{x}", dim="streams", x=x, text=f"{x:,} streams x 5 events/s held open", spec="bench-t2000-200000-24",
                        args=["--stream", "1", "--conc", str(x), "--ramp", str(max(0.5, x / 1000)), "--warmup", "1", "--timeout", "120"],
                        unit="kev", fresh=True, rounds=1, secs=4, skip=["slow"] if x > 100 else ["medium"] if x > 1000 else []))
    return out


GROWTH = growth()
