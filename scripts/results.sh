#!/usr/bin/env bash
# Recorded real traffic: `train` rows are rehearsed, then everything is frozen
# and `test` rows measure it, and again through the real proxy. The figures go
# to docs/results.md, whatever they are.
# usage: scripts/results.sh [AGENT…]; MINUTES sets the budget of each rehearsal,
# SPECIALISE the minutes of training (none by default), DELAY_MS the provider's
# time, CLIENTS how many calls are under way at once
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
if [ -z "${UNDERSTUDY_TRAFFIC:-}" ]; then
  echo "skipped: UNDERSTUDY_TRAFFIC is unset; point it at a folder of recorded traffic (see README)"
  exit 0
fi
ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(scripts/onnxruntime.sh)}
export ORT_DYLIB_PATH
cargo build --release --quiet --workspace --bins
bin=$CARGO_TARGET_DIR/release
"$bin/understudy" model pull
minutes=${MINUTES:-10}
delay=${DELAY_MS:-400}
clients=${CLIENTS:-4}
train=()
[ -z "${SPECIALISE:-}" ] || train=(--specialise "$SPECIALISE")
agents=("$@")
[ ${#agents[@]} -gt 0 ] || agents=(bank-router voice-assistant airline-agent maths-tutor)
work=$(mktemp -d "${TMPDIR:-/tmp}/understudy-results.XXXXXX")
pids=()
finish() { for pid in "${pids[@]:-}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap finish EXIT
trap 'exit 130' INT TERM
export OPENAI_API_KEY=sk-recorded
mkdir -p docs/results
for agent in "${agents[@]}"; do
  file=$UNDERSTUDY_TRAFFIC/$agent.calls.jsonl
  [ -f "$file" ] || file=$UNDERSTUDY_TRAFFIC/$agent.trajectories.jsonl
  say "$agent: rehearsing train rows for at most $minutes minutes, then test rows"
  state=$work/$agent
  mkdir -p "$state"
  UNDERSTUDY_STATE_DIR=$state UNDERSTUDY_TELEMETRY_LOG=warn,understudy::rehearse=info,understudy::specialise=info,understudy_rehearsal=info "$bin/understudy" rehearse "$file" \
    --hold-out split=test --minutes "$minutes" --approve --credential-env OPENAI_API_KEY "${train[@]}" \
    --journal "$state" --report "docs/results/$agent.rehearsal.json"
  if ! python3 scripts/results.py serves "docs/results/$agent.rehearsal.json"; then
    echo "$agent: nothing was earned, so nothing is served" | tee "$state/none"
    rm -f "docs/results/$agent.live.json"
    continue
  fi
  say "$agent: test rows through the real proxy, the provider plays the recorded replies after $delay ms"
  "$bin/replay" playback "$UNDERSTUDY_TRAFFIC" "$agent" "$delay" >"$state/url" & pids+=($!)
  until [ -s "$state/url" ]; do sleep 0.1; done
  cat >"$state/live.toml" <<TOML
[state]
dir = "$state"
[gateway]
listen = ["127.0.0.1:0"]
[metrics]
listen = "127.0.0.1:0"
[providers.openai]
base_url = "$(cat "$state/url")"
[worker]
frozen = true
budget_ms = $delay
[policy]
approval = "never"
TOML
  export UNDERSTUDY_CONFIG=$state/live.toml
  "$bin/understudy" serve 2>"$state/serve.log" & pids+=($!)
  serve=$!
  for _ in $(seq 600); do "$bin/understudy" tasks --json 2>/dev/null | grep -q '"live"\|"canary"' && break; sleep 0.2; done
  url=$(python3 scripts/results.py gateway "$state")
  "$bin/replay" send "$UNDERSTUDY_TRAFFIC" "$agent" "$url/v1" "$OPENAI_API_KEY" "$clients" >"docs/results/$agent.live.json"
  kill "$serve"; wait "$serve" 2>/dev/null || true
  unset UNDERSTUDY_CONFIG
done
python3 scripts/results.py page docs/results "$minutes" "$delay" >docs/results.md
say "docs/results.md is written"
