"""LMCache's own L2 adapter driven by the runner of `lmcache bench l2`, one slice at a time, in a process that stays, so that its
imports, which take seconds, are not measured. Runs inside the LMCache environment only (`python -m lib.reference_slices`).

Answers each line of JSON on standard input with one on standard output:

    {"open": {"spec", "num_keys", "in_flight", "data_size", "align", "model"}}     closes the adapter and makes another, or none (null)
    {"operation": "Store" | "Lookup" | "Load", "first_round", "rounds"}            {"durations_s", "keys_ok", "cpu_s"}
"""

import json
import os
import sys
import time

from lib import reference

# A round that no slice uses: looking it up starts the adapter's threads before the clock does.
WARM_UP_ROUND = 1_000_000


class FirstSubmitClock:
    """Stands before an adapter and notes the process's CPU time (all threads) at the first submit.

    The bench zeroes its load buffers inside the function that also measures; that is not the adapter's cost.
    """

    def __init__(self, adapter):
        self._adapter = adapter
        self.cpu_s = None

    def __getattr__(self, name):
        if name.startswith("submit_") and self.cpu_s is None:
            self.cpu_s = time.process_time()
        return getattr(self._adapter, name)


class Adapter:
    def __init__(self, model: str | None = None, **shape):
        self.model = model
        self.real = reference.Reference(**shape)
        # The bench fills object 0 with zeros, which some storage stores for free.
        self.real.buffer.random_(0, 256)
        self.real.lookup(self.real.keys(WARM_UP_ROUND, model))

    def measure(self, operation: str, first_round: int, rounds: int) -> dict:
        real = self.real
        common = {"in_flight": real.in_flight, "num_keys": real.num_keys, "rounds": 1, "log": lambda _: None}
        bench = {"Store": reference.runner.bench_store, "Load": reference.runner.bench_load, "Lookup": reference.runner.bench_lookup}
        if operation != "Lookup":
            common |= {"data_size": real.data_size, "objs_for_round": lambda _: real.objects}
        durations, keys_ok, cpu_s = [], 0, 0.0
        # One round at a time, so that the CPU clock starts at the first submit of each.
        for index in range(first_round, first_round + rounds):
            clock = FirstSubmitClock(real.adapter)
            result = bench[operation](clock, keys_for_round=lambda _: real.keys(index, self.model), **common)
            cpu_s += time.process_time() - clock.cpu_s
            durations += result.round_durations
            keys_ok += result.total_success
        return {"durations_s": durations, "keys_ok": keys_ok, "cpu_s": cpu_s}


def main() -> None:
    # LMCache and its dependencies print to stdout, which carries the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    adapter = None
    for line in sys.stdin:
        command = json.loads(line)
        if "open" in command:
            if adapter:
                adapter.real.close()
            adapter = Adapter(**command["open"]) if command["open"] else None
            print("{}", file=answers)
        else:
            print(json.dumps(adapter.measure(**command)), file=answers)
    if adapter:
        adapter.real.close()


if __name__ == "__main__":
    main()
