"""What one exchange looked like: the client's answer and what the upstream was asked, for the checks to look at."""
from __future__ import annotations

import json

import rules
import wire
from match import content_text
from mock import STRIP, strip_marks


def upstream_view(b) -> dict:
    """The same request from the angles that checks need, whatever form the proxy chose."""
    view: dict = {"system": "", "texts": [], "tool_calls": [], "tool_results": [], "images": [], "roles": []}
    if not isinstance(b, dict):
        return view
    sys_texts, all_text = [], []
    for i, m in enumerate(b.get("messages") if isinstance(b.get("messages"), list) else []):
        if not isinstance(m, dict):
            continue
        text = content_text(m.get("content")) or ""
        view["roles"].append(m.get("role"))
        view["texts"].append(text)
        all_text.append(text)
        if m.get("role") in ("system", "developer"):
            sys_texts.append(text)
        for c in m.get("tool_calls") or []:
            f = c.get("function") or {}
            view["tool_calls"].append({"message": i, "id": c.get("id"), "name": f.get("name"),
                                       "arguments": f.get("arguments")})
        if m.get("role") == "tool":
            view["tool_results"].append({"message": i, "id": m.get("tool_call_id"), "text": text,
                                         "content": m.get("content")})
        for part in m["content"] if isinstance(m.get("content"), list) else []:
            if isinstance(part, dict) and part.get("type") == "image_url":
                iu = part.get("image_url")
                view["images"].append({"message": i, "role": m.get("role"),
                                       "url": iu.get("url") if isinstance(iu, dict) else iu})
    view["system"] = "\n".join(sys_texts)
    view["all_text"] = "\n".join(all_text)
    users = [t for r, t in zip(view["roles"], view["texts"]) if r == "user"]
    view["last_user"] = users[-1] if users else None
    view["user_text"] = "\n".join(users)
    view["assistant_text"] = "".join(t for r, t in zip(view["roles"], view["texts"]) if r == "assistant")
    view["tools"] = {}
    for t in b.get("tools") or []:
        f = t.get("function") if isinstance(t, dict) else None
        if isinstance(f, dict):
            view["tools"][str(f.get("name"))] = f
    view["tool_names"] = list(view["tools"])
    view["max_tokens"] = b.get("max_completion_tokens", b.get("max_tokens"))
    effort = b.get("reasoning_effort")
    if effort is None and isinstance(b.get("reasoning"), dict):
        effort = b["reasoning"].get("effort")
    view["reasoning_effort"] = effort
    return view


def observe(reply: wire.Reply, records, t_client_closed=None) -> dict:
    hdr = reply.hdr()
    text = reply.raw.decode("utf-8", "replace")
    try:
        body = json.loads(text) if text else None
    except ValueError:
        body = None
    ctx: dict = {
        "status": reply.status, "headers": hdr, "ended": reply.ended, "body": body,
        "raw": text if len(text) < 200_000 else text[:200_000],
        "raw_length": len(reply.raw), "interim": reply.interim,
        "content_type": hdr.get("content-type", "").split(";")[0].strip().lower(),
        "elapsed": round(reply.t_end - reply.t_start, 3),
        "event_types": [e.json.get("type") if isinstance(e.json, dict) else None for e in reply.events],
        "event_times": [round(e.at - reply.t_start, 3) for e in reply.events],
        "error": None, "blocks": [], "_events": reply.events, "_t0": reply.t_start,
    }
    if reply.sse is not None:
        s = rules.Stream(reply.events)
        if reply.sse.decode_errors:
            s.bad("the stream is not valid UTF-8")
        if reply.ended not in ("clean", "closed_by_us"):
            s.bad(f"the response body ended: {reply.ended}")
        msg = s.message()
        ctx.update(streamed=True, problems=s.problems, overlaps=s.overlaps, blocks=msg["content"], message=msg,
                   message_start=s.start, message_delta={"delta": s.delta, "usage": s.delta_usage}
                   if s.delta is not None else None,
                   stop_reason=msg["stop_reason"], stop_sequence=msg["stop_sequence"], usage=msg["usage"],
                   closed_blocks=[b["_index"] for b in s.blocks if b["_closed"]], pings=s.pings, order=s.order, complete=s.stopped)
        if s.error is not None:
            inner = s.error.get("error") if isinstance(s.error.get("error"), dict) else {}
            ctx["error"] = {"where": "stream", "type": inner.get("type"), "message": inner.get("message")}
    elif isinstance(body, dict):
        ctx["streamed"] = False
        inner = body.get("error")
        if reply.status >= 400 or inner is not None:
            inner = inner if isinstance(inner, dict) else {}
            ctx["error"] = {"where": "http", "type": inner.get("type"), "message": inner.get("message")}
        else:
            ctx.update(message=body, blocks=rules.simple(body.get("content")), stop_reason=body.get("stop_reason"),
                       stop_sequence=body.get("stop_sequence"), usage=body.get("usage"))
    elif reply.status >= 400:
        ctx["error"] = {"where": "http", "type": None, "message": None}
    ctx["all_blocks"] = ctx["blocks"]
    if len(ctx["blocks"]) > 1:
        full = [b for b in ctx["blocks"] if b.get("type") not in ("text", "thinking") or b.get(b["type"]) or b.get("signature")]
        ctx["blocks"] = full or ctx["blocks"][:1]
    for k in ("text", "thinking"):
        ctx[k] = "".join(b[k] for b in ctx["blocks"] if b.get("type") == k and isinstance(b.get(k), str))
    ctx["tool_uses"] = [b for b in ctx["blocks"] if b.get("type") == "tool_use"]
    ups = []
    for r in records:
        clean = strip_marks(r.body)
        u = {"method": r.method, "path": r.path, "headers": {k.lower(): v for k, v in r.headers},
             "header_list": [[k.lower(), v] for k, v in r.headers], "body": clean,
             "raw": STRIP.sub("", r.raw.decode("utf-8", "replace")) if len(r.raw) < 400_000 else "(large)",
             "length": len(r.raw), "view": upstream_view(clean), "sent": r.sent, "_record": r}
        if r.closed_at is not None and t_client_closed is not None:
            u["closed_after_client_s"] = round(r.closed_at - t_client_closed, 3)
        if r.closed_at is not None:
            u["closed_early_at"] = round(r.closed_at - reply.t_start, 3)
        ups.append(u)
    ctx["upstreams"] = ups
    ctx["upstream_count"] = len(ups)
    if ups:
        ctx["upstream"] = ups[-1]
    return ctx
