#!/usr/bin/env bash
# Cross-validation by errand: each fold's errands are held out once, everything
# is learnt from the others, and what may be served of each tool's calls and of
# text is told over all of them.
# usage: scripts/folds.sh AGENT [K]; MINUTES and SPECIALISE as for results.sh,
# for each of the K folds (4 by default). FOLDS="0 2" makes some of them; those
# made before are kept in docs/results, and the table is of all that are there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
[ $# -gt 0 ] || die "which agent? usage: scripts/folds.sh AGENT [K]"
agent=$1
k=${2:-4}
. scripts/recorded.sh
for i in ${FOLDS:-$(seq 0 $((k - 1)))}; do
  say "$agent: fold $((i + 1)) of $k, at most ${MINUTES:-10} minutes"
  python3 scripts/splits.py fold "$i" "$k" "$(recorded "$agent")" "$work"
  rehearse_recorded "$work/$(basename "$(recorded "$agent")")" "$work/$i" "${MINUTES:-10}" "$work/verdict.json" >/dev/null
  mv "$work/verdict.json" "docs/results/$agent.fold-$i-of-$k.json"
done
python3 scripts/results.py folds "docs/results/$agent".fold-*-of-"$k".json | tee "docs/results/$agent.folds.md"
