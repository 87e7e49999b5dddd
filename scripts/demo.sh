#!/usr/bin/env bash
# `make demo`: the effect of each cache tier, on this machine and without a GPU. See scripts/demo.py.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH=scripts exec python3 -B scripts/demo.py "$@"
