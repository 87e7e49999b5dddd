#!/usr/bin/env bash
# The engine benchmark against a real vLLM, alone and with a real LMCache server behind it, all on the CPU.
set -euo pipefail
. scripts/lib/peers.sh
need lmcache lmcache
need vllm vllm
exec python3 -m interop.engine_stack "$1" "$vllm"
