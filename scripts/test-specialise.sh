#!/usr/bin/env bash
# The trainer's own tests, two rounds of training start to end, and one that is
# cut off and goes on, in the environment that training uses (some 3 GB to fetch
# the first time), which is why they are not part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
python=$(scripts/venv.sh deploy/specialise/requirements.txt)
"$python" -m pip install --quiet -r deploy/specialise/requirements-test.txt
(cd deploy/specialise && PYTHONPATH=. PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest -q -p no:cacheprovider tests)
scripts/test.sh --run-ignored only -E 'binary(rounds)'
