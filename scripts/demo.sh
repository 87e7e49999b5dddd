#!/usr/bin/env bash
# `make demo`: what each cache tier is worth, on this machine and without a GPU. See scripts/demo.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 scripts/demo.py "$@"
