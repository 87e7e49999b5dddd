#!/usr/bin/env bash
# Where prompt tokens came from, on a real vLLM with a real LMCache server behind it: the ledger, and the hits that were expected.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
need vllm vllm
exec python3 -m interop.ledger "$1" "$vllm"
