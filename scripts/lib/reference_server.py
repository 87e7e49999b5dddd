"""Runs LMCache's own `bench server` and records where the time of each transfer went. Runs inside the LMCache environment only.

    python -m lib.reference_server OUT.json server --rpc-url ... [the flags of `lmcache bench`]

For each lookup, store and retrieve: its latency, how much of it the client waited for a reply, and the CPU time of the whole process.
"""

import json
import sys
import time

BEGUN = time.monotonic()

import torch  # noqa: E402
from lmcache.cli.commands.bench.server_bench.client import ServerBenchClient  # noqa: E402
from lmcache.cli.main import main  # noqa: E402
from lmcache.v1.multiprocess import futures  # noqa: E402

waited = 0.0
operations = []


def counting(wait):
    def wrapper(self, timeout=None):
        global waited
        begun = time.monotonic()
        try:
            return wait(self, timeout)
        finally:
            waited += time.monotonic() - begun

    return wrapper


def measured(name, method):
    def wrapper(self, request, **range_of_tokens):
        before, cpu, begun = waited, time.process_time(), time.monotonic()
        result = method(self, request, **range_of_tokens)
        latency, cpu = time.monotonic() - begun, time.process_time() - cpu
        if result is not None:
            wait = waited - before
            operations.append(
                {"operation": name, "latency_ms": latency * 1e3, "wait_ms": wait * 1e3, "cpu_ms": cpu * 1e3}
            )
        return result

    return wrapper


starts = {}


def first(name, method):
    """Notes when the first call began and ended."""

    def wrapper(self, *arguments, **named):
        begun = time.monotonic()
        result = method(self, *arguments, **named)
        starts.setdefault(f"start_to_first_{name}_s", begun - BEGUN)
        starts.setdefault(f"start_to_first_{name}_done_s", time.monotonic() - BEGUN)
        return result

    return wrapper


# LMCache 0.5.6 hashes device tensors through numpy, which refuses them, so that its engine_driven runs end there. It does so between
# the measured operations.
to_numpy = torch.Tensor.numpy
torch.Tensor.numpy = lambda tensor, **named: to_numpy(tensor.cpu(), **named)

futures.MessagingFuture.wait = counting(futures.MessagingFuture.wait)
ServerBenchClient.store = first("store", measured("store", ServerBenchClient.store))
ServerBenchClient.retrieve = measured("retrieve", ServerBenchClient.retrieve)
ServerBenchClient.lookup = first("lookup", measured("lookup", ServerBenchClient.lookup))

out, sys.argv = sys.argv[1], ["lmcache", "bench", *sys.argv[2:]]
try:
    main()
finally:
    with open(out, "w") as file:
        json.dump({"operations": operations, **starts}, file)
