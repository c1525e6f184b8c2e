"""The targets: how each is started, where it listens, what it calls a model.

Placeholders in cmd, env and files: {port} own port, {mock} mock's host:port, {work} a
scratch directory of this target's own, {bin} the rig's binaries, {peers} where setup.sh
put the peers ($BENCH_PEERS). A target whose `needs` do not exist is left out.
`kind` says which heavy scenarios a target is spared: fast | medium | slow; `streams` False: all that stream.
"""

import os

NGINX = """
daemon off; master_process on; worker_processes 1; pid {work}/nginx.pid;
error_log {work}/error.log error;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 4m;
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  keepalive_requests 100000000; keepalive_timeout 600s;
  upstream mock {{ server {mock}; keepalive 4096; keepalive_requests 100000000; keepalive_timeout 600s; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k; proxy_read_timeout 600s;
    }}
  }}
}}
"""

LITELLM = """
model_list:
  - model_name: claude-bench
    litellm_params:
      model: hosted_vllm/upstream
      api_base: http://{mock}/v1
      api_key: sk-bench
litellm_settings:
  telemetry: false
  drop_params: true
  request_timeout: 600
general_settings:
  disable_spend_logs: true
"""

CCR = """
{{
  "LOG": false, "HOST": "127.0.0.1", "PORT": {port}, "API_TIMEOUT_MS": 600000, "NON_INTERACTIVE_MODE": true,
  "Providers": [{{"name": "mock", "api_base_url": "http://{mock}/v1/chat/completions", "api_key": "sk-bench", "models": ["upstream"]}}],
  "Router": {{"default": "mock,upstream"}}
}}
"""

CCM = """
[server]
host = "127.0.0.1"
port = {port}
log_level = "error"

[server.timeouts]
api_timeout_ms = 600000
connect_timeout_ms = 10000

[router]
default = "claude-bench"

[[providers]]
name = "mock"
provider_type = "openai"
api_key = "sk-bench"
base_url = "http://{mock}/v1"
enabled = true
models = []

[[models]]
name = "claude-bench"

[[models.mappings]]
actual_model = "upstream"
priority = 1
provider = "mock"
"""

# Log limits 0: the peers log nothing either. `ak` is what the load generator sends as x-api-key.
# The model's name is fixed; the mock finds the answer's shape in the prompt, where `load` writes it too.
CLAUDE_PROXY = """
{{
  "ak": "sk-bench", "port": {port}, "workers": 1, "log_body_max_chars": 0, "log_stream_text_preview_chars": 0,
  "max_concurrent_requests": 16384,
  "providers": [{{"name": "mock", "base_url": "http://{mock}", "api_key": "sk-bench", "models": [{{"id": "claude-bench"}}]}}]
}}
"""


def binary(var):
    """The program an environment variable names, absolute: each target runs in a directory of its own."""
    return os.path.abspath(os.environ[var]) if os.environ.get(var) else f"${var}"


PRODUCT = binary("CLAUDE_PROXY_BIN")

TARGETS = [
    # -- floors: convert nothing, talk to the mock's native Anthropic endpoint
    dict(name="direct", direct=True, note="load generator straight to the mock"),
    dict(name="floor-tcp", cmd=["{bin}/floor-tcp", "127.0.0.1:{port}", "{mock}"],
         note="layer-4 copy, no HTTP"),
    dict(name="nginx", cmd=["nginx", "-p", "{work}", "-c", "{work}/nginx.conf"], which="nginx",
         files={"nginx.conf": NGINX}, note="raw reverse proxy, 1 worker, proxy_buffering off"),
    dict(name="floor-hyper", cmd=["{bin}/floor-hyper", "127.0.0.1:{port}", "{mock}", "0"],
         note="hyper pass-through, one thread"),
    dict(name="floor-actix", cmd=["{bin}/floor-actix", "127.0.0.1:{port}", "{mock}", "1"],
         note="actix-web + awc pass-through, 1 worker"),
    dict(name="floor-actix-nagle", cmd=["{bin}/floor-actix", "127.0.0.1:{port}", "{mock}", "1", "nagle"],
         note="the same without TCP_NODELAY (actix-web's and awc's default)", default=False),
    dict(name="floor-actix2", cmd=["{bin}/floor-actix", "127.0.0.1:{port}", "{mock}", "2"],
         note="the same, 2 workers", default=False),
    # -- the product: CLAUDE_PROXY_BIN names its release binary
    dict(name="claude-proxy", model="claude-bench", cmd=[PRODUCT, "serve", "--config", "{work}/config.json"], needs=[PRODUCT],
         files={"config.json": CLAUDE_PROXY}, env=dict(HOME="{work}"), note="1 worker"),
    # -- peers: /v1/messages in, /v1/chat/completions out
    dict(name="litellm", kind="slow", model="claude-bench",
         cmd=["{peers}/venv-litellm/bin/litellm", "--config", "{work}/config.yaml", "--host", "127.0.0.1",
              "--port", "{port}", "--num_workers", "1"],
         needs=["{peers}/venv-litellm/bin/litellm"], files={"config.yaml": LITELLM},
         env=dict(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR", LITELLM_MODE="PRODUCTION",
                  NO_DOCS="True", HOME="{work}", LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="true"),
         start_s=90, note="Python, 1 worker"),
    dict(name="ccr", kind="medium", model="claude-bench",
         cmd=["node", "{peers}/ccr/node_modules/@musistudio/claude-code-router/dist/cli.js", "start"],
         needs=["{peers}/ccr/node_modules/@musistudio/claude-code-router/dist/cli.js"],
         files={".claude-code-router/config.json": CCR, ".claude/projects/none": ""},
         env=dict(HOME="{work}", NODE_ENV="production", CI="true"), start_s=40, note="claude-code-router, Node"),
    dict(name="ccm", kind="fast", model="claude-bench",
         cmd=["{peers}/bin/ccm", "--config", "{work}/config.toml", "start"],
         needs=["{peers}/bin/ccm"], files={"config.toml": CCM}, env=dict(HOME="{work}"), streams=False,
         note="claude-code-mux, Rust (axum + reqwest); hands OpenAI streams on as they are"),
]

# Port of the n-th target is BASE + n; the mock listens on BASE - 1.
BASE = 9101
