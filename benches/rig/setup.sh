#!/usr/bin/env bash
# Installs what the rig measures against, by package name and exact version, into $BENCH_PEERS (default: out/peers
# beside this file). Safe to run again; a peer that fails is left out of the runs.
set -u
peers=${BENCH_PEERS:-$(cd "$(dirname "$0")" && pwd)/out/peers}
mkdir -p "$peers"
command -v nginx >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q nginx-light; }
[ -x "$peers/venv-litellm/bin/litellm" ] || {
  python3 -m venv "$peers/venv-litellm" && "$peers/venv-litellm/bin/pip" install -q 'litellm[proxy]==1.106.2'
}
[ -d "$peers/ccr/node_modules" ] || {
  mkdir -p "$peers/ccr" && (cd "$peers/ccr" && npm init -y >/dev/null && npm i --no-fund @musistudio/claude-code-router@2.0.0)
}
[ -x "$peers/bin/ccm" ] || cargo install --locked --root "$peers" claude-code-mux@0.6.3
for peer in nginx "$peers/venv-litellm/bin/litellm" "$peers/ccr/node_modules/@musistudio/claude-code-router/dist/cli.js" "$peers/bin/ccm"; do
  command -v "$peer" >/dev/null || [ -e "$peer" ] && echo "there: $peer" || echo "NOT there: $peer"
done
