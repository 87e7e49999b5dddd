"""Runs LMCache's own `bench server` and records where the time of each transfer went. Runs inside the LMCache environment only.

    python -m lib.reference_server OUT.json server --rpc-url ... [the flags of `lmcache bench`]

For each store and retrieve: its latency, how much of it the client waited for a reply, and the CPU time of the whole process.
"""

import json
import sys
import time

BEGUN = time.monotonic()

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


first_rpc = None


def first(method):
    def wrapper(self, *arguments, **named):
        global first_rpc
        begun = time.monotonic()
        result = method(self, *arguments, **named)
        first_rpc = first_rpc or begun - BEGUN
        return result

    return wrapper


futures.MessagingFuture.wait = counting(futures.MessagingFuture.wait)
ServerBenchClient.store = measured("store", ServerBenchClient.store)
ServerBenchClient.retrieve = measured("retrieve", ServerBenchClient.retrieve)
ServerBenchClient.lookup = first(ServerBenchClient.lookup)

out, sys.argv = sys.argv[1], ["lmcache", "bench", *sys.argv[2:]]
try:
    main()
finally:
    with open(out, "w") as file:
        json.dump({"operations": operations, "start_to_first_lookup_s": first_rpc}, file)
