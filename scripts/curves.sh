#!/usr/bin/env bash
# Learning curves: agreement and coverage on an agent's test rows by how many
# train rows were recorded before, so that one can tell how long to record.
# usage: scripts/curves.sh AGENT [N…]; N is `all` or a number (by default 100,
# 300, 1000, 3000, all); MINUTES and SPECIALISE as for results.sh, for each N.
# The table goes to docs/results/AGENT.curve.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
[ $# -gt 0 ] || die "which agent? usage: scripts/curves.sh AGENT [N…]"
agent=$1
shift
. scripts/recorded.sh
minutes=${MINUTES:-10}
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(100 300 1000 3000 all)
verdicts=()
for n in "${sizes[@]}"; do
  say "$agent: the first $n train rows, at most $minutes minutes, then test rows"
  python3 scripts/splits.py first "$n" "$(recorded "$agent")" "$work"
  verdict=$work/$n.json
  rehearse_recorded "$work/$(basename "$(recorded "$agent")")" "$work/$n" "$minutes" "$verdict" >/dev/null
  verdicts+=("$n=$verdict")
done
python3 scripts/results.py curve "$agent" "${verdicts[@]}" | tee "docs/results/$agent.curve.md"
