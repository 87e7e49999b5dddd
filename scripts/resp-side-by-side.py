#!/usr/bin/env python3
"""Measures our `resp` adapter beside LMCache 0.5.6's C++ one and redis-benchmark, interleaved, on one Redis or Valkey server
that this script starts on loopback.

LMCache's adapter runs twice: under LMCache's own runner in its own process, which is what a user of `lmcache bench l2` gets,
and through the bridge (`--via lmcache`) in our harness. Each slice runs all contestants one after the other with the same
number of connections and the same value size; ratios are formed within a slice and their median counts. The server's share
of a core bounds what any client could reach on it: that is the ceiling.

    scripts/resp-side-by-side.py [--slices 7] [--connections 1,4,8] [--server valkey] [--pipeline 1]
        [--congestion cubic] [--out FILE]
"""

import argparse
import csv
import io
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

LOAD = side.Load(num_keys=64, in_flight=4, data_size=256 * 1024)
BENCHMARK_REQUESTS = 2000
LMCACHE_BAR, BENCHMARK_BAR = 2.0, 0.9
BENCHMARK_TESTS = {"Store": "set", "Load": "get"}


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def benchmark(program: str, redis: servers.Redis, connections: int) -> dict[str, side.Slice]:
    """The server's own benchmark program, with as many values as our rounds move."""
    slices = {}
    gib = BENCHMARK_REQUESTS * LOAD.data_size / side.GIB
    for operation, test in BENCHMARK_TESTS.items():
        command = [program, "-p", redis.port, "-c", connections, "-n", BENCHMARK_REQUESTS, "-d", LOAD.data_size]
        # So few keys that all are there after the discarded slice: a GET that finds nothing would count as a value.
        command += ["-r", 400, "-t", test, "--csv"]
        client, server = children_cpu_s(), redis.cpu_s()
        done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
        client, server = children_cpu_s() - client, redis.cpu_s() - server
        rows = {row["test"].lower(): float(row["rps"]) for row in csv.DictReader(io.StringIO(done.stdout))}
        slices[operation] = side.Slice(rows[test] * LOAD.data_size / side.MIB, client / gib, server / gib)
    return slices


def measured(connections: int, arguments, program: str, scratch: pathlib.Path) -> dict:
    options = ("--io-threads", arguments.io_threads, "--io-threads-do-reads", "yes") if arguments.io_threads > 1 else ()
    with servers.Redis(program, scratch / f"redis-{connections}", None, *options) as redis:
        spec = {"type": "resp", "host": "127.0.0.1", "port": redis.port, "num_workers": connections}
        ours_spec = {**spec, "pipeline": arguments.pipeline}
        bench = servers.peers("valkey").replace("-server", "-benchmark")
        lmcache = side.Lmcache(spec, LOAD, redis)
        contestants = {
            "LMCache": lmcache.slice,
            "ours": lambda: side.ours(ours_spec, LOAD, redis),
            "bridge": lambda: side.bridged(spec, LOAD),
            "benchmark": lambda: benchmark(bench, redis, connections),
        }
        results = side.in_turn(contestants, arguments.slices, rare=("bridge",))
        lmcache.close()
    return results


def ceiling_of(ours: list[side.Slice], lmcache: list[side.Slice]) -> float:
    """The ratio to LMCache at which the server's thread would never wait, at the lower of its two costs per GiB."""
    costs = [statistics.median(one.server_s_per_gib for one in slices) for slices in (ours, lmcache)]
    return 1024 / statistics.median(one.mib_s for one in lmcache) / min(costs)


def rows_for(connections: int, results: dict) -> tuple[list[str], list[str]]:
    speeds, costs = [], []
    for operation in side.OPERATIONS:
        one = {name: by_operation[operation] for name, by_operation in results.items()}
        to_lmcache, lmcache_text = side.ratio(one["ours"], one["LMCache"])
        to_bridge, bridge_text = side.ratio(one["ours"], one["bridge"])
        to_benchmark, benchmark_text = side.ratio(one["ours"], one["benchmark"])
        ceiling = ceiling_of(one["ours"], one["LMCache"])
        met = ["no", "yes"]
        speeds.append(
            f"| {operation.lower()} | {connections} | {side.speed(one['ours'])} "
            f"| {side.speed(one['LMCache'])} | {lmcache_text} | {met[to_lmcache >= LMCACHE_BAR]} | {ceiling:.2f} "
            f"| {side.speed(one['bridge'])} | {bridge_text} | {met[to_bridge >= LMCACHE_BAR]} "
            f"| {side.speed(one['benchmark'])} | {benchmark_text} | {met[to_benchmark >= BENCHMARK_BAR]} |"
        )
        costs.append(
            f"| {operation.lower()} | {connections} | {side.cost(one['ours'])} | {side.cost(one['LMCache'])} "
            f"| {side.cost(one['benchmark'])} |"
        )
    return speeds, costs


def document(arguments, version: str, speeds: list[str], costs: list[str]) -> str:
    congestion = f" --congestion {arguments.congestion}" if arguments.congestion else ""
    return f"""# `resp` beside LMCache 0.5.6 and the server's own benchmark

Made by `scripts/resp-side-by-side.py --slices {arguments.slices} --connections {arguments.connections} \
--server {arguments.server} --io-threads {arguments.io_threads} --pipeline {arguments.pipeline}{congestion}`. Medians of {arguments.slices} slices \
(minimum to maximum), contestants in turn, one server ({version}, {arguments.io_threads} I/O thread) on loopback.
{side.machine()}. {LOAD.num_keys} keys x {LOAD.in_flight} submits of 256 KiB, {side.ROUNDS} rounds; ours with a pipeline of \
{arguments.pipeline}. MiB/s; ratios are ours over theirs.

"LMCache's runner" is its adapter under its own runner in its own process, as in `lmcache bench l2`; "through the bridge" is
the same adapter in our harness (`--via lmcache`), {side.RARE_SLICES} slices. The ceiling is the ratio at which the server's one
thread would never wait, at the lower of its costs per GiB in the runs of ours and of LMCache's runner: no client gets beyond
it, and on one connection without a pipeline none gets near, because the server waits while a client copies.

| operation | connections | ours | LMCache's runner | ratio | at least 2 | ceiling | through the bridge | ratio | at least 2 \
| benchmark program | ratio | at least 0.9 |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(speeds)}

CPU seconds per GiB, client and server, and the server's share of a core meanwhile. A client that only copies values into
and out of a socket needs about 0.15.

| operation | connections | ours: client | server | share | LMCache's runner: client | server | share \
| benchmark program: client | server | share |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(costs)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--connections", default="1,4,8")
    parser.add_argument("--server", default="valkey", help="target of scripts/peers.sh: valkey or valkey9")
    parser.add_argument("--io-threads", type=int, default=1, help="threads of the server")
    parser.add_argument("--pipeline", type=int, default=1, help="of ours; LMCache has none")
    parser.add_argument("--congestion", help="TCP congestion control, in a network of its own (needs root)")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.congestion:
        side.in_own_namespaces(arguments.congestion)
    program = servers.peers(arguments.server)
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split(" sha=")[0]
    speeds, costs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for connections in map(int, arguments.connections.split(",")):
            more = rows_for(connections, measured(connections, arguments, program, pathlib.Path(scratch)))
            speeds += more[0]
            costs += more[1]
    side.write(arguments.out, document(arguments, version.strip(), speeds, costs))


if __name__ == "__main__":
    main()
