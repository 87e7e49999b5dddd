"""Measures LMCache's own adapter for a service, one slice at a time. Runs inside the LMCache environment only.

    service_slices.py SPEC NUM_KEYS IN_FLIGHT DATA_SIZE [MODEL]

Reads one JSON object per line from stdin, {"operation": "Store"|"Load", "first_round", "rounds"}, runs the rounds on the
bench's keys and answers with one line of JSON: {"durations_s", "keys_ok", "cpu_s"}. The adapter is made once, by
LMCache's own factory, and driven by the runner of `lmcache bench l2`. MODEL replaces the bench's model name: LMCache has no
path-style S3 requests, but a model name with a slash makes the same paths.
"""

import json
import os
import sys
import time

import reference
from slices import FirstSubmitClock


def keys_of(real: reference.Reference, round_index: int, model: str | None) -> list[list]:
    keys = real.keys(round_index)
    if model is None:
        return keys
    remade = []
    for batch in keys:
        remade.append([type(key)(chunk_hash=key.chunk_hash, model_name=model, kv_rank=key.kv_rank) for key in batch])
    return remade


def measure(real: reference.Reference, command: dict, model: str | None) -> dict:
    bench = {"Store": reference.runner.bench_store, "Load": reference.runner.bench_load}[command["operation"]]
    durations, keys_ok, cpu_s = [], 0, 0.0
    # One round at a time, so that the CPU clock starts at the first submit of each.
    for index in range(command["first_round"], command["first_round"] + command["rounds"]):
        clock = FirstSubmitClock(real.adapter)
        result = bench(
            clock,
            in_flight=real.in_flight,
            num_keys=real.num_keys,
            data_size=real.data_size,
            rounds=1,
            keys_for_round=lambda _, index=index: keys_of(real, index, model),
            objs_for_round=lambda _: real.objects,
            log=lambda _: None,
        )
        cpu_s += time.process_time() - clock.cpu_s
        durations += result.round_durations
        keys_ok += result.total_success
    return {"durations_s": durations, "keys_ok": keys_ok, "cpu_s": cpu_s}


def main() -> None:
    # LMCache and its dependencies print to stdout, which carries the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    spec, num_keys, in_flight, data_size = json.loads(sys.argv[1]), *map(int, sys.argv[2:5])
    model = sys.argv[5] if len(sys.argv) > 5 else None
    real = reference.Reference(spec, num_keys, in_flight, data_size, 4096)
    # Equal bytes could be stored for free somewhere.
    real.buffer.random_(0, 256)
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        print(json.dumps(measure(real, json.loads(line), model)), file=answers)
    real.close()


if __name__ == "__main__":
    main()
