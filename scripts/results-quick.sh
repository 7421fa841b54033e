#!/usr/bin/env bash
# The short form of results.sh, for every change: some calls of two agents in
# one stream, some minutes, and what must hold is checked: a task of few replies
# earns its way to the calls, open reasoning does not, and what is taken of the
# test rows keeps what was promised.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/recorded.sh
python3 scripts/splits.py first 5000 "$(recorded bank-router)" "$work" 600
python3 scripts/splits.py first 400 "$(recorded maths-tutor)" "$work" 100
"$bin/replay" mixed "$work" bank-router maths-tutor >"$work/mixed.jsonl"
rehearse_recorded "$work/mixed.jsonl" "$work/mixed" "${MINUTES:-8}" "$work/verdict.json"
python3 scripts/plot.py "$work/verdict.json" >"$work/mixed.svg"
python3 scripts/results.py shares "$work/verdict.json"
python3 scripts/results.py check "$work/verdict.json"
