#!/usr/bin/env bash
# Added latency and throughput, side by side with a bare pingora in one run.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
building
cargo build --release --quiet --workspace --bins
"$CARGO_TARGET_DIR/release/understudy" bench "$@"
