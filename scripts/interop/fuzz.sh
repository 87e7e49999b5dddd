#!/usr/bin/env bash
# Two minutes of the fuzz targets: what is read from peers, files and stores.
set -euo pipefail
exec scripts/fuzz.sh 120
