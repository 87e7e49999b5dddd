#!/usr/bin/env bash
# Two minutes of the fuzz targets, with the same inputs each time, so that a failure comes from a change. `make fuzz` makes new inputs.
set -euo pipefail
SEED=1 exec scripts/fuzz.sh 120
