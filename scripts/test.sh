#!/usr/bin/env bash
# Every test, with what they need: the ONNX Runtime library, the default
# models, and the SDKs' environments, each fetched once into the cache folder.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
PATH=$(scripts/tools.sh):$PATH
need node "install Node 20 or later"
ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(scripts/onnxruntime.sh)}
export ORT_DYLIB_PATH
say "building"
building
cargo build --release --workspace --bins --tests
export UNDERSTUDY_BIN=$CARGO_TARGET_DIR/release/understudy
say "models"
"$UNDERSTUDY_BIN" model pull
UNDERSTUDY_PYTHON=$(scripts/venv.sh tests/agents/requirements.txt)
UNDERSTUDY_REFERENCE_PYTHON=$(scripts/venv.sh shadow/onnx/reference/requirements.txt)
export UNDERSTUDY_PYTHON UNDERSTUDY_REFERENCE_PYTHON
UNDERSTUDY_NODE_MODULES=$(scripts/node.sh)
export UNDERSTUDY_NODE_MODULES
[ -n "${UNDERSTUDY_TRAFFIC:-}" ] || say "UNDERSTUDY_TRAFFIC is unset: the tests on recorded traffic are skipped by name"
if [ $# -gt 0 ]; then
  : # some of the tests were asked for by name
elif [ "$(id -u)" = 0 ]; then
  scripts/test-kubernetes.sh
else
  say "skipped: the tests on a Kubernetes node, which need root (make test-kubernetes)"
fi
say "tests"
cargo test --release --workspace --doc --quiet
cargo nextest run --release --workspace "$@"
