#!/usr/bin/env bash
# The fuzz targets on the committed corpus, each input also stretched, and on the same number of new inputs however fast the machine
# is. `make fuzz` goes on from what earlier runs learned.
set -euo pipefail
STRETCH_EVERY=1 scripts/fuzz.sh --fresh --inputs 0 >&2
exec scripts/fuzz.sh --fresh --inputs 30000
