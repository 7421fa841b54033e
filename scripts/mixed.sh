#!/usr/bin/env bash
# All recorded agents in one stream, with no mark of who sent what: which tasks
# are found, which stages they reach, what is served and saved. `test` rows
# measure it at the end.
# usage: scripts/mixed.sh [AGENT…]; MINUTES and SPECIALISE as for results.sh.
# The verdict goes to docs/results/mixed.json, the plot to docs/results/mixed.svg.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
. scripts/recorded.sh
agents=("$@")
[ ${#agents[@]} -gt 0 ] || mapfile -t agents < <(recorded_agents)
[ ${#agents[@]} -gt 0 ]
"$bin/replay" mixed "$UNDERSTUDY_TRAFFIC" "${agents[@]}" >"$work/mixed.jsonl"
rehearse_recorded "$work/mixed.jsonl" "$work/mixed" "${MINUTES:-30}" docs/results/mixed.json
python3 scripts/plot.py docs/results/mixed.json >docs/results/mixed.svg
python3 scripts/results.py shares docs/results/mixed.json
say "docs/results/mixed.svg is drawn"
