"""Measures LMCache's own L2 bench one slice at a time, so that its seconds of imports are paid once and never measured.

Reads one JSON object per line from stdin, {"operation": "Store"|"Lookup"|"Load", "spec", "num_keys", "in_flight",
"data_size", "align"}, runs one round on round 0 of the bench keys and answers with one line of JSON:
{"duration_s", "bytes", "keys_ok", "cpu_s"}. Ends with stdin.
"""

import json
import os
import pathlib
import sys
import time

import reference

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


def bytes_below(base_path: str) -> int:
    return sum(path.stat().st_size for path in pathlib.Path(base_path).glob("*.data"))


def measure(command: dict) -> dict:
    data_size, in_flight, num_keys = command["data_size"], command["in_flight"], command["num_keys"]
    real = reference.Reference(command["spec"], num_keys, in_flight, data_size, command["align"])
    try:
        # The bench fills object 0 with zeros, which some storage stores for free.
        real.buffer.random_(0, 256)
        real.lookup(real.keys(WARM_UP_ROUND))
        base_path = command["spec"]["base_path"]
        before = bytes_below(base_path)
        clock = FirstSubmitClock(real.adapter)
        common = {"in_flight": in_flight, "num_keys": num_keys, "rounds": 1, "log": lambda _: None}
        common["keys_for_round"] = real.keys
        if command["operation"] == "Lookup":
            result = reference.runner.bench_lookup(clock, **common)
        else:
            bench = {"Store": reference.runner.bench_store, "Load": reference.runner.bench_load}[command["operation"]]
            result = bench(clock, data_size=data_size, objs_for_round=lambda _: real.objects, **common)
        cpu_s = time.process_time() - clock.cpu_s
        moved = {
            "Store": lambda: bytes_below(base_path) - before,
            "Load": lambda: result.total_success * data_size,
            "Lookup": lambda: 0,
        }[command["operation"]]()
    finally:
        real.close()
    duration_s = result.round_durations[0] if result.round_durations else None
    return {"duration_s": duration_s, "bytes": moved, "keys_ok": result.total_success, "cpu_s": cpu_s}


def main() -> None:
    # LMCache and its dependencies print to stdout, which carries the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
