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
. scripts/recorded.sh
minutes=${MINUTES:-10}
delay=${DELAY_MS:-400}
clients=${CLIENTS:-4}
agents=("$@")
[ ${#agents[@]} -gt 0 ] || mapfile -t agents < <(recorded_agents)
[ ${#agents[@]} -gt 0 ]
for agent in "${agents[@]}"; do
  say "$agent: rehearsing train rows for at most $minutes minutes, then test rows"
  state=$work/$agent
  rehearse_recorded "$(recorded "$agent")" "$state" "$minutes" "docs/results/$agent.rehearsal.json"
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
python3 scripts/results.py page docs/results "$minutes" "$delay" >"$work/results.md"
mv "$work/results.md" docs/results.md
say "docs/results.md is written"
