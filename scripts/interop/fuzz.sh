#!/usr/bin/env bash
# Two minutes of the fuzz targets: what is read from peers, files and stores. The same inputs each time, so that a failure is the
# fault of a change; new inputs are for `make fuzz`.
set -euo pipefail
SEED=1 exec scripts/fuzz.sh 120
