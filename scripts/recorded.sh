# shellcheck shell=bash
# Sourced by the scripts that replay recorded traffic, after env.sh: the
# binaries, the models, and a folder that ends with the script.
if [ -z "${UNDERSTUDY_TRAFFIC:-}" ]; then
  echo "skipped: UNDERSTUDY_TRAFFIC is unset; point it at a folder of recorded traffic (see README)"
  exit 0
fi
ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(scripts/onnxruntime.sh)}
export ORT_DYLIB_PATH
building
# CI has built the tests beside the binaries, with features of theirs: TESTS_TOO
# takes that build instead of another one.
cargo build --release --quiet --workspace --bins ${TESTS_TOO:+--tests}
bin=$CARGO_TARGET_DIR/release
"$bin/understudy" model pull
train=()
if [ -n "${SPECIALISE:-}" ]; then
  train=(--specialise "$SPECIALISE")
  # Training needs the operator's word. Whoever sets SPECIALISE gives it for the
  # recorded traffic that they point at; UNDERSTUDY_PROVIDERS_OPENAI_TRAIN_TERMS says
  # on which terms.
  export UNDERSTUDY_PROVIDERS_OPENAI_TRAIN=true
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/understudy-results.XXXXXX")
pids=()
finish() { for pid in "${pids[@]:-}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT
trap 'exit 130' INT TERM
export OPENAI_API_KEY=sk-recorded
mkdir -p docs/results

# The file of an agent's recorded calls.
recorded() {
  local file=$UNDERSTUDY_TRAFFIC/$1.calls.jsonl
  [ -f "$file" ] || file=$UNDERSTUDY_TRAFFIC/$1.trajectories.jsonl
  printf '%s\n' "$file"
}

# Every agent that has recorded calls.
recorded_agents() {
  for file in "$UNDERSTUDY_TRAFFIC"/*.agent.json; do
    [ -f "$file" ] || { echo "no NAME.agent.json in $UNDERSTUDY_TRAFFIC" >&2; return 1; }
    basename "$file" .agent.json
  done
}

# rehearse_recorded FILE STATE MINUTES REPORT: train rows, then everything is
# frozen and test rows measure it.
rehearse_recorded() {
  mkdir -p "$2"
  UNDERSTUDY_STATE_DIR=$2 UNDERSTUDY_TELEMETRY_LOG=warn,understudy::rehearse=info,understudy::specialise=info,understudy_rehearsal=info "$bin/understudy" rehearse "$1" \
    --hold-out split=test --minutes "$3" --approve --credential-env OPENAI_API_KEY "${train[@]}" \
    --journal "$2" --report "$4"
}
