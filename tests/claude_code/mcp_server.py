"""A small MCP server on stdio: a tool that adds, one whose schema is a bare object, one with a long name."""
import json
import sys

LONG = "look_up_a_thing_whose_name_is_longer_than_chat_completions_servers_like_it"
TOOLS = [
    {"name": "add", "description": "Adds two numbers", "inputSchema": {
        "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}},
    {"name": "now", "description": "A schema without properties", "inputSchema": {"type": "object"}},
    {"name": LONG, "description": "A long name", "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}}},
]


def answer(method: str, params: dict) -> dict:
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "sums", "version": "1"}}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        name, given = params["name"], params.get("arguments", {})
        text = {"add": lambda: f"the sum is {given['a'] + given['b']}", "now": lambda: f"noon, asked with {json.dumps(given)}",
                LONG: lambda: f"found {given.get('q')}"}[name]()
        return {"content": [{"type": "text", "text": text}]}
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"],
                          "result": answer(request["method"], request.get("params") or {})}), flush=True)
