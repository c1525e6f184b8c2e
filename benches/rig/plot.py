"""Draws how cost grows, as SVG: one panel for each dimension, log-log, one line for each target. Standard library only."""
import math

import tables

W, H = 330, 240  # of a panel's plot area
LEFT, TOP, GAP_X, GAP_Y = 64, 60, 150, 96
COLUMNS = 2

# name: (label, class); drawn in this order, so that the program is on top.
LINES = {
    "litellm": ("LiteLLM", "c1"), "ccr": ("claude-code-router", "c2"), "ccm": ("claude-code-mux", "c3"),
    "nginx": ("nginx", "c4"), "floor-actix": ("floor-actix", "c5"), "claude-proxy": ("claude-proxy", "c0"),
}

STYLE = """
  .bg { fill: #ffffff } text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-size: 14px; font-weight: 600; fill: #1f2328 } .grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #8c959f; stroke-width: 1 }
  .line { fill: none; stroke-width: 1.75; stroke-linejoin: round } .line.c0 { stroke-width: 3 } .label.c0 { font-weight: 600 }
  .line.c0, .dot.c0 { stroke: #0969da } .line.c1, .dot.c1 { stroke: #bc4c00 } .line.c2, .dot.c2 { stroke: #8250df }
  .line.c3, .dot.c3 { stroke: #1a7f37 } .line.c4, .dot.c4 { stroke: #8c959f; stroke-dasharray: 2 3 } .line.c5, .dot.c5 { stroke: #57606a; stroke-dasharray: 6 3 }
  .label.c0 { fill: #0969da } .label.c1 { fill: #bc4c00 } .label.c2 { fill: #8250df } .label.c3 { fill: #1a7f37 } .label.c4 { fill: #6e7781 } .label.c5 { fill: #424a53 }
  .dot { stroke-width: 2; stroke-dasharray: none !important } .lead { stroke: #d0d7de; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .bg { fill: #0d1117 } text { fill: #9198a1 } .title { fill: #f0f6fc } .grid { stroke: #2a313c } .axis { stroke: #656c76 } .lead { stroke: #3d444d }
    .line.c0, .dot.c0 { stroke: #4493f8 } .line.c1, .dot.c1 { stroke: #db6d28 } .line.c2, .dot.c2 { stroke: #ab7df8 }
    .line.c3, .dot.c3 { stroke: #3fb950 } .line.c4, .dot.c4 { stroke: #656c76 } .line.c5, .dot.c5 { stroke: #b1bac4 }
    .label.c0 { fill: #4493f8 } .label.c1 { fill: #db6d28 } .label.c2 { fill: #ab7df8 } .label.c3 { fill: #3fb950 } .label.c4 { fill: #8b949e } .label.c5 { fill: #b1bac4 }
  }
"""


def per_request(row):
    return row.get("cpu_us")


def per_event(row):
    return row["cpu_us"] / 1000 if row.get("cpu_us") else None


def peak_mb(row):
    return row["hwm_kb"] / 1024 if row.get("hwm_kb") else None


def kb_stream(row):
    return row.get("rss_stream_kb") or None


def added_ms(row):
    return row["event"]["p50"] / 1000 if row.get("event") else None


# title, dimension, what x is, what is drawn, its unit
PANELS = [
    ("Messages in a request", "messages", "messages of 400 B", per_request, "CPU µs a request"),
    ("Tools in a request", "tools", "tools of 1.2 KB", per_request, "CPU µs a request"),
    ("Size of a request", "bytes", "bytes", per_request, "CPU µs a request"),
    ("Memory for its size", "bytes", "bytes", peak_mb, "peak resident MB"),
    ("Size of a text delta", "event", "bytes", per_event, "CPU µs an event"),
    ("Delay of a delta by its size", "event", "bytes", added_ms, "median ms, mock to client"),
    ("Open streams", "streams", "streams of 5 events a second", per_event, "CPU µs an event"),
    ("Memory of open streams", "streams", "streams", kb_stream, "resident KB a stream"),
]


def points(rows, dim, value):
    """{target: [(x, median)]} of what was measured without an error."""
    found = {}
    for r in rows:
        if r["scenario"].startswith(dim + "-") and "failed" not in r and not r["errors"]:
            y = value(r)
            if y is not None and y > 0:
                found.setdefault(r["target"], {}).setdefault(int(r["scenario"].rsplit("-", 1)[1]), []).append(y)
    return {t: sorted((x, tables.med(ys)) for x, ys in by.items()) for t, by in found.items() if t in LINES}


def short(v):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if v >= limit:
            return f"{v / limit:g}{unit}"
    return f"{v:g}"


def spread(labels, low, high, step=14):
    """Moves labels (y, ...) apart, and keeps them inside: (new y, y, ...)."""
    labels = sorted(labels)
    ys = []
    for y, *_ in labels:
        ys.append(max(y, ys[-1] + step) if ys else max(y, low))
    over = max(0, ys[-1] - high) if ys else 0
    ys = [y - over for y in ys]
    for i in range(len(ys) - 2, -1, -1):
        ys[i] = min(ys[i], ys[i + 1] - step)
    return [(y, *label) for y, label in zip(ys, labels)]


def panel(out, x0, y0, title, x_label, y_label, lines):
    xs = sorted({x for line in lines.values() for x, _ in line})
    ys = [y for line in lines.values() for _, y in line]
    if not ys:
        return
    # No logarithm for 0: it stands half a decade before the first.
    first = min(x for x in xs if x > 0)
    zero = first / 3
    low_x, high_x = math.log10(zero if 0 in xs else first), math.log10(xs[-1])
    low_y, high_y = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 1e-9)

    def px(x):
        return x0 + W * (math.log10(x or zero) - low_x) / (high_x - low_x)

    def py(y):
        return y0 + H - H * (math.log10(y) - low_y) / max(1, high_y - low_y)

    out.append(f'<text class="title" x="{x0}" y="{y0 - 26}">{title}</text><text x="{x0}" y="{y0 - 9}">{y_label}</text>')
    for e in range(low_y, high_y + 1):
        y = py(10 ** e)
        out.append(f'<line class="grid" x1="{x0}" x2="{x0 + W}" y1="{y:.1f}" y2="{y:.1f}"/>'
                   f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{short(10 ** e)}</text>')
    out.append(f'<line class="axis" x1="{x0}" x2="{x0 + W}" y1="{y0 + H}" y2="{y0 + H}"/>')
    end = None
    for x in xs:
        at = px(x)
        if end is None or at - end > 30:
            out.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{y0 + H}" y2="{y0 + H + 4}"/>'
                       f'<text x="{at:.1f}" y="{y0 + H + 18}" text-anchor="middle">{short(x)}</text>')
            end = at
    out.append(f'<text x="{x0 + W / 2}" y="{y0 + H + 36}" text-anchor="middle">{x_label}</text>')
    if "claude-proxy" in lines:  # what linear growth to its last point would be
        x2, y2 = lines["claude-proxy"][-1]
        x1 = max(10 ** low_x, x2 / (y2 / 10 ** low_y))
        out.append(f'<line class="lead" x1="{px(x1):.1f}" y1="{py(y2 * x1 / x2):.1f}" x2="{px(x2):.1f}" y2="{py(y2):.1f}"/>')
    labels = []
    for name, (text, css) in LINES.items():
        line = lines.get(name)
        if not line:
            continue
        at = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in line)
        out.append(f'<polyline class="line {css}" points="{at}"/>')
        for x, y in line:
            out.append(f'<circle class="bg dot {css}" cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.5"/>')
        x, y = line[-1]
        labels.append((py(y), px(x), text, css))
    for y, was, x, text, css in spread(labels, y0, y0 + H):
        out.append(f'<line class="lead" x1="{x + 5:.1f}" y1="{was:.1f}" x2="{x0 + W + 10}" y2="{y:.1f}"/>'
                   f'<text class="label {css}" x="{x0 + W + 13}" y="{y + 4:.1f}">{text}</text>')


def growth(rows):
    """The SVG of a run with `--growth`."""
    n = -(-len(PANELS) // COLUMNS)
    width, height = COLUMNS * (LEFT + W + GAP_X), TOP + n * (H + GAP_Y)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
           f'<title>How cost grows</title><style>{STYLE}</style><rect class="bg" width="{width}" height="{height}"/>']
    for i, (title, dim, x_label, value, y_label) in enumerate(PANELS):
        x0 = LEFT + (i % COLUMNS) * (LEFT + W + GAP_X)
        panel(out, x0, TOP + (i // COLUMNS) * (H + GAP_Y), title, x_label, y_label, points(rows, dim, value))
    return "\n".join([*out, "</svg>\n"])


def exponent(line):
    """By which power cost grows over the upper end of a line: 1 is linear, 0 constant."""
    (x1, y1), (x2, y2) = line[-3], line[-1]
    return math.log(y2 / y1) / math.log(x2 / x1)
