#!/usr/bin/env python3
"""Measures our `resp` adapter beside LMCache 0.5.6's C++ one and redis-benchmark, interleaved, on one Redis or Valkey server
that this script starts on loopback.

Each slice runs all contestants one after the other with the same number of connections and the same value size; ratios
are formed within a slice and their median counts.

    scripts/resp-side-by-side.py [--slices 7] [--connections 1,4,8] [--io-threads 1] [--pipeline 1] [--out FILE]
"""

import argparse
import csv
import io
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

NUM_KEYS, IN_FLIGHT, DATA_SIZE = 64, 4, 256 * 1024
BENCHMARK_REQUESTS = 1000
LMCACHE_BAR, BENCHMARK_BAR = 2.0, 0.9


def benchmark(program: str, port: int, connections: int) -> dict[str, float]:
    """MiB/s by the server's own benchmark program, as many values as our rounds move."""
    command = [program, "-p", port, "-c", connections, "-n", BENCHMARK_REQUESTS, "-d", DATA_SIZE, "-r", 1000]
    command += ["-t", "set,get", "--csv"]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    rows = {row["test"]: float(row["rps"]) for row in csv.DictReader(io.StringIO(done.stdout))}
    return {"Store": rows["SET"] * DATA_SIZE / side.MIB, "Load": rows["GET"] * DATA_SIZE / side.MIB}


def rows_for(connections: int, arguments, program: str, scratch: pathlib.Path) -> list[str]:
    options = ("--io-threads", arguments.io_threads, "--io-threads-do-reads", "yes") if arguments.io_threads > 1 else ()
    with servers.Redis(program, scratch / f"redis-{connections}", None, *options) as redis:
        spec = {"type": "resp", "host": "127.0.0.1", "port": redis.port, "num_workers": connections}
        ours_spec = {**spec, "pipeline": arguments.pipeline}
        bench = program.replace("-server", "-benchmark")
        lmcache = side.Lmcache(spec, NUM_KEYS, IN_FLIGHT, DATA_SIZE)
        results = {"LMCache": [], "ours": [], "benchmark": []}
        for _ in range(arguments.slices):
            results["LMCache"].append(lmcache.slice())
            results["ours"].append(side.ours(ours_spec, NUM_KEYS, IN_FLIGHT, DATA_SIZE))
            results["benchmark"].append(benchmark(bench, redis.port, connections))
        lmcache.close()
    rows = []
    for operation in ("Store", "Load"):
        speed = {name: [one[operation] for one in slices] for name, slices in results.items()}
        to_lmcache, lmcache_text = side.ratio(speed["ours"], speed["LMCache"])
        to_benchmark, benchmark_text = side.ratio(speed["ours"], speed["benchmark"])
        met = ["no", "yes"]
        rows.append(
            f"| {operation.lower()} | {connections} | {side.median(speed['ours'])} | {side.median(speed['LMCache'])} "
            f"| {side.median(speed['benchmark'])} | {lmcache_text} | {met[to_lmcache >= LMCACHE_BAR]} "
            f"| {benchmark_text} | {met[to_benchmark >= BENCHMARK_BAR]} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--connections", default="1,4,8")
    parser.add_argument("--io-threads", type=int, default=1, help="threads of the server")
    parser.add_argument("--pipeline", type=int, default=1, help="of ours; LMCache has none")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    program = servers.peers("valkey")
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split(" sha=")[0]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for connections in map(int, arguments.connections.split(",")):
            rows += rows_for(connections, arguments, program, pathlib.Path(scratch))
    head = f"""# `resp` beside LMCache 0.5.6 and the server's own benchmark

Made by `scripts/resp-side-by-side.py --slices {arguments.slices} --io-threads {arguments.io_threads} \
--pipeline {arguments.pipeline}`; medians of {arguments.slices} slices (minimum to maximum), contestants in turn, one
server ({version.strip()}, {arguments.io_threads} I/O thread) on loopback. {side.machine()}.
{NUM_KEYS} keys x {IN_FLIGHT} submits of 256 KiB; ours with a pipeline of {arguments.pipeline}. MiB/s; ratios are ours over theirs.

| operation | connections | ours | LMCache | benchmark program | to LMCache | at least 2 | to benchmark | at least 0.9 |
|---|---|---|---|---|---|---|---|---|
"""
    side.write(arguments.out, head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
