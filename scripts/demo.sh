#!/usr/bin/env bash
# The main job on embedded defaults: record, rehearse, judge, go live, fall
# back. Everything is started by this script, keeps its state in a folder of
# its own, and ends with it. Safe to run again, and to interrupt.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
began=$SECONDS
train_minutes=5
need cargo "install Rust with rustup; rust-toolchain.toml names the version"
need python3 "install Python 3.11 or later"

ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$(scripts/onnxruntime.sh)}
export ORT_DYLIB_PATH
say "building (the first time some ten minutes on two cores)"
building
cargo build --release --workspace --bins
bin=$CARGO_TARGET_DIR/release
say "models (once)"
"$bin/understudy" model pull
python=$(scripts/venv.sh tests/agents/requirements.txt)

home=$(mktemp -d "${TMPDIR:-/tmp}/understudy-demo.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]:-}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$home"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "the stand-in provider: a real HTTP server over deterministic rules, no model (2 s a call)"
"$bin/stand-in" --delay-ms 2000 >"$home/standin.url" &
pids+=($!)
until [ -s "$home/standin.url" ]; do sleep 0.1; done
url=$(cat "$home/standin.url")

# The demo's own keys, looser than the defaults so that it ends in minutes.
cat >"$home/understudy.toml" <<TOML
[state]
dir = "$home/state"
[gateway]
listen = ["127.0.0.1:0"]
[metrics]
listen = "127.0.0.1:0"
[providers.openai]
base_url = "$url"
train = true
[policy]
tau = 0.90
alpha = 0.05
steps = [0.5]
step_conversations = 10
first_fit = 60
dev_conversations = 40
bar_delta = 0.2
stratum_min = 6
observe_calls = 10
conversation_gap = 20
audit_first = 100
audit_first_share = 0.5
audit_share = 0.25
cusum_limit = 50
[worker]
busy_share = 1.0
TOML
export UNDERSTUDY_CONFIG=$home/understudy.toml
export OPENAI_API_KEY=sk-stand-in
cat <<'NOTE'

  key                 default        this demo
  tau                 0.95           0.90      agreement that must be exceeded
  alpha               0.01           0.05      permitted error of a task
  steps               0.10, 0.50     0.50      share of conversations in the canary
  step_conversations  30             10        audited conversations for each step
  first_fit           200            60        exchanges before the first versions
  dev_conversations   300            40        conversations that choose the bar
  bar_delta           0.05           0.20      permitted chance that the bar does not exceed tau
  stratum_min         20             6         judged conversations a stratum needs
  cusum_limit         1000           50        one false alarm in so many audits
  observe_calls       30             10        calls before anyone rehearses
  conversation_gap    200            20        entries without a call that end a conversation
  audit_first         500            100       served calls that are audited more often
  audit_first_share   0.20           0.50      that share of them
  audit_share         0.05           0.25      the share of all others
  worker.busy_share   0.5            1.0       share of time that trials may take
NOTE

say "the proxy"
"$bin/understudy" serve 2>"$home/serve.log" &
serve=$!
pids+=("$serve")
for _ in $(seq 200); do "$bin/understudy" tasks >/dev/null 2>&1 && break; sleep 0.1; done
"$bin/understudy" tasks >/dev/null || { tail -20 "$home/serve.log" >&2; die "the proxy did not start"; }

stages() { "$bin/understudy" tasks --json | python3 scripts/stages.py "$1"; }
agent() { "$bin/understudy" run --quiet -- "$python" tests/agents/desk.py "$@"; }
# Whether a task whose name begins so has come so far.
at() { "$bin/understudy" tasks --json | python3 -c '
import json, sys
name, stage = sys.argv[1:]
sys.exit(not any(r["name"].startswith(name) and r["stage"] == stage for r in json.load(sys.stdin)))' "$1" "$2"; }
approval_awaited() { "$bin/understudy" tasks --json | grep -q 'approval: its replies'; }
name_tasks() {
  "$bin/understudy" tasks --json | python3 -c '
import json, sys
short = {"order desk": "look-up", "triage": "triage", "refund": "refund", "planner": "reasoning", "find table": "tables"}
for r in json.load(sys.stdin):
    for words, name in short.items():
        if words in r["name"].replace("-", " "): print(r["id"], name)' |
  while read -r id name; do "$bin/understudy" task name "$id" "$name" >/dev/null; done
}

say "an agent on the official openai SDK, unchanged: look-ups, extractions, a tool that acts, open reasoning"
for round in $(seq 1 30); do
  agent --calls 80 --seed "$round" --workers 6 >/dev/null
  [ "$round" = 1 ] && name_tasks
  stages "$round"
  # On a fast machine the prompted look-up is live by now, too.
  at triage live && approval_awaited && { at look-up live || [ "$round" -ge 20 ]; } && break
done
at triage live || at look-up live || { "$bin/understudy" decisions; die "no routine task went live: see above"; }

say "live: the small model answers, the provider is fallback and examiner"
agent --calls 160 --seed 100 --workers 6
"$bin/understudy" tasks
"$bin/understudy" decisions
"$bin/understudy" savings

say "now the stand-in changes its behaviour ('billing' becomes 'payments'), as a new model version would"
curl -fsS -X POST -H 'content-type: application/json' -d '{"changed": true}' "${url%/v1}/control" >/dev/null
for round in $(seq 1 12); do
  agent --calls 80 --only triage --seed "$((200 + round))" --workers 6 >/dev/null
  stages "$round"
  "$bin/understudy" decisions --json | grep -q '"audits_disagree"' && break
done
"$bin/understudy" tasks
"$bin/understudy" decisions
"$bin/understudy" decisions --json | grep -q '"audits_disagree"' || die "the change was not noticed"
"$bin/understudy" tasks --json | python3 -c '
import json, sys
reasoning = [r for r in json.load(sys.stdin) if r["name"] == "reasoning"]
assert reasoning and all(r["served"] == 0 for r in reasoning), "reasoning left the provider"
print("\nreasoning never left the provider; the changed task was demoted by its audits")'
# A task whose arguments have a form of their own (19:45 for "a quarter to
# eight"): shown examples, the small model misses it; trained on some, it does not.
if [ -f "$(venv_of deploy/specialise/requirements.txt)/ready" ]; then
  say "table bookings: recorded, trained on for $train_minutes minutes, and back into the shadows"
  agent --calls 500 --only table --seed 400 --workers 12 >/dev/null
  name_tasks
  "$bin/understudy" specialise tables --minutes "$train_minutes"
  for round in $(seq 1 15); do
    agent --calls 60 --only table --seed "$((400 + round))" --workers 6 >/dev/null
    stages "$round"
    at tables live && break
  done
  agent --calls 60 --only table --seed 500 --workers 6 >/dev/null
  "$bin/understudy" task understudies tables
  at tables live || say "tables did not go live in this time: see what it waits for"
else
  say "left out: a task that is won by training. It needs PyTorch (some 3 GB to fetch, 7 GB on the disk)"
  echo "make it with: $bin/understudy specialise --prepare; then make demo again"
fi
printf '\nthe whole demo took %s minutes\n' "$(( (SECONDS - began + 30) / 60 ))"
