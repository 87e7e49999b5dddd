"""LMCache's own L2 adapter, built the way `lmcache bench l2` builds it. Runs inside the LMCache environment only."""

import argparse
import json
import os
import subprocess
import sys
import warnings

os.environ.setdefault("LMCACHE_LOG_LEVEL", "ERROR")
os.environ.setdefault("LMCACHE_DISABLE_BANNER", "1")
# Its dependencies announce the end of Python and gRPC versions at every import.
warnings.simplefilter("ignore", FutureWarning)

from lmcache.cli.commands.bench.l2_adapter_bench import data, runner
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config

# LMCache's own limit is 120 s.
WAIT_S = 60.0


class Reference:
    """One real adapter with the buffers of one round: `in_flight` submits of `num_keys` objects each."""

    def __init__(self, spec: dict, num_keys: int, in_flight: int, data_size: int, align: int):
        config = parse_args_to_l2_adapters_config(argparse.Namespace(l2_adapter=[json.dumps(spec)]))
        self.num_keys, self.in_flight, self.data_size = num_keys, in_flight, data_size
        self.keys_per_round = num_keys * in_flight
        self.buffer = data.make_aligned_tensor(self.keys_per_round * data_size, align)
        description = data.create_l1_memory_desc(self.buffer, align_bytes=align)
        self.adapter = create_l2_adapter(config.adapters[0], l1_memory_desc=description)
        span = num_keys * data_size
        self.objects = [
            data.make_memory_objects(self.buffer, num_keys, data_size, batch * span) for batch in range(in_flight)
        ]

    def keys(self, round_index: int, model: str | None = None) -> list[list]:
        """The bench's keys of a round. `model` replaces its model name: LMCache has no path-style S3 requests, but a model name
        with a slash makes the same paths."""
        first = round_index * self.keys_per_round
        batches = [data.make_object_keys(self.num_keys, key_offset=first + batch * self.num_keys) for batch in range(self.in_flight)]
        if model is None:
            return batches
        return [
            [type(key)(chunk_hash=key.chunk_hash, model_name=model, kv_rank=key.kv_rank) for key in keys] for keys in batches
        ]

    def store(self, keys: list[list], payloads: list[bytes]) -> None:
        """Stores one round; every key must succeed."""
        flat = [view for batch in self.objects for view in batch]
        for view, payload in zip(flat, payloads, strict=True):
            memoryview(view.byte_array).cast("B")[:] = payload
        tasks = [self.adapter.submit_store_task(k, o) for k, o in zip(keys, self.objects, strict=True)]
        done = runner._wait_store_finished(self.adapter, tasks, WAIT_S)
        failed = [task for task in tasks if task not in done or not done[task].is_successful()]
        if failed:
            raise AssertionError(f"LMCache could not store: tasks {failed} of {tasks}")

    def lookup(self, keys: list[list]) -> list[bool]:
        layout = {0: runner._PLACEHOLDER_LAYOUT_DESC}
        tasks = [self.adapter.submit_lookup_and_lock_task(batch, layout) for batch in keys]
        return self._bits(tasks, runner._wait_lookup_finished(self.adapter, tasks, WAIT_S))

    def load(self, keys: list[list]) -> tuple[list[bool], list[bytes]]:
        """Loads one round into buffers that held something else, so that a load that did nothing is seen."""
        self.buffer.fill_(0xEE)
        tasks = [self.adapter.submit_load_task(k, o) for k, o in zip(keys, self.objects, strict=True)]
        hits = self._bits(tasks, runner._wait_load_finished(self.adapter, tasks, WAIT_S))
        return hits, [bytes(view.byte_array) for batch in self.objects for view in batch]

    def _bits(self, tasks: list[int], bitmaps: dict) -> list[bool]:
        missing = [task for task in tasks if task not in bitmaps]
        if missing:
            raise AssertionError(f"LMCache did not finish tasks {missing} within {WAIT_S:.0f} s")
        found = []
        for task in tasks:
            hits = set(bitmaps[task].get_indices_list())
            found += [position in hits for position in range(self.num_keys)]
        return found

    def close(self) -> None:
        self.adapter.close()


def command_line(spec: dict, *flags: object) -> subprocess.CompletedProcess:
    """The real `lmcache bench l2`, as a user would type it."""
    program = os.path.join(os.path.dirname(sys.executable), "lmcache")
    command = [program, "bench", "l2", "--l2-adapter", json.dumps(spec), *(str(flag) for flag in flags)]
    return subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore::FutureWarning"})
