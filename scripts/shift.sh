#!/usr/bin/env bash
# What is never seen in training must stay with the provider: the calls of one
# tool are left out of an agent's train rows and asked among its test rows.
# usage: scripts/shift.sh AGENT TOOL; MINUTES and SPECIALISE as for results.sh.
# The table goes to docs/results/AGENT.shift.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
[ $# -eq 2 ] || die "which tool of which agent? usage: scripts/shift.sh AGENT TOOL"
. scripts/recorded.sh
python3 scripts/splits.py absent "$2" "$(recorded "$1")" "$work"
rehearse_recorded "$work/$(basename "$(recorded "$1")")" "$work/state" "${MINUTES:-10}" "$work/verdict.json"
python3 scripts/results.py shift "$work/verdict.json" | tee "docs/results/$1.shift.md"
