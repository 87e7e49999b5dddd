#!/usr/bin/env bash
# The engine benchmark against a real vLLM, alone and with a real LMCache server behind it, all on the CPU.
set -euo pipefail
lmcache=$(scripts/peers.sh lmcache | tail -n 1)
vllm=$(scripts/peers.sh vllm | tail -n 1)
exec python3 scripts/interop/engine_stack.py "$1" "$lmcache" "$vllm"
