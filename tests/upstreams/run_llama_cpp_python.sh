#!/usr/bin/env bash
# llama-cpp-python's own server as a real upstream: another implementation than llama-server, with
# other habits. It is compiled from its source distribution: 17 minutes on two cores, the first time.
#
#   run_llama_cpp_python.sh install [DIR]
#   run_llama_cpp_python.sh start [DIR] [PORT]      prints the pid and the URL
#   run_llama_cpp_python.sh stop  [DIR] [PORT]
#
# DIR is where it installs and keeps model, log and pid (default: .cache/llama-cpp-python of the repository).
# env: CHAT_FORMAT= (empty: the model's own template) | chatml-function-calling (calls tools with "auto")
#      N_CTX=2048   JOBS=2   PYTHON=python3
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cmd=${1:-help}
dir=${2:-$here/../../.cache/llama-cpp-python}
port=${3:-8090}
py=$dir/venv/bin/python

install() {
  mkdir -p "$dir"
  [ -x "$py" ] || "${PYTHON:-python3}" -m venv "$dir/venv"
  "$py" -c 'import llama_cpp.server.app, gguf' 2>/dev/null && return
  # cmake and ninja come with the package's build requirements; a C++ compiler has to be there
  CMAKE_BUILD_PARALLEL_LEVEL=${JOBS:-2} \
    CMAKE_ARGS="-DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF" \
    nice -n 15 "$py" -m pip install -q --disable-pip-version-check 'llama-cpp-python[server]==0.3.36' 'gguf==0.19.0' 'numpy==2.4.6'
}

start() {
  install >&2
  [ "$dir/tiny.gguf" -nt "$here/make_tiny_gguf.py" ] || "$py" "$here/make_tiny_gguf.py" "$dir/tiny.gguf" >&2
  nohup "$py" -m llama_cpp.server --model "$dir/tiny.gguf" --model_alias tiny --host 127.0.0.1 --port "$port" \
    --n_ctx "${N_CTX:-2048}" --n_threads "${JOBS:-2}" ${CHAT_FORMAT:+--chat_format "$CHAT_FORMAT"} \
    >"$dir/server-$port.log" 2>&1 </dev/null &
  echo $! >"$dir/pid-$port"
  for _ in $(seq 300); do
    kill -0 "$(cat "$dir/pid-$port")" 2>/dev/null || break
    if "$py" -c 'import sys, urllib.request as u; u.urlopen(f"http://127.0.0.1:{sys.argv[1]}/openapi.json", timeout=1)' "$port" 2>/dev/null; then
      echo "pid $(cat "$dir/pid-$port") url http://127.0.0.1:$port"
      return
    fi
    sleep 0.2
  done
  echo "llama-cpp-python's server did not come up; the end of $dir/server-$port.log:" >&2
  tail -20 "$dir/server-$port.log" >&2
  exit 1
}

case $cmd in
  install) install ;;
  start) start ;;
  stop) kill "$(cat "$dir/pid-$port")"; rm -f "$dir/pid-$port" ;;
  *) sed -n '2,12p' "$0"; exit 2 ;;
esac
