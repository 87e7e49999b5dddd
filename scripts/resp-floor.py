#!/usr/bin/env python3
"""Measures what any RESP client on this machine can reach: bare sockets that only move 256 KiB values, one system call each
way, beside LMCache's C++ adapter on the same server, interleaved. Two bounds follow for a ratio to LMCache: the server's one
thread cannot be busier than always, and client and server together cannot use more than the machine's cores.

    scripts/resp-floor.py [--slices 5] [--connections 1,4,8] [--server valkey] [--congestion cubic] [--out FILE]
"""

import argparse
import multiprocessing
import os
import pathlib
import socket
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

LOAD = side.Load(num_keys=64, in_flight=4, data_size=256 * 1024)
REQUESTS = 2048


def bare(port: int, operation: str, worker: int, count: int, barrier, results) -> None:
    """One connection: `count` values to or from the server."""
    value = bytearray(os.urandom(LOAD.data_size))
    answer = bytearray(len(f"${LOAD.data_size}\r\n") + LOAD.data_size + 2)
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        barrier.wait()
        wall, cpu = time.perf_counter(), time.process_time()
        for index in range(count):
            key = b"bare-%04d" % (worker * count + index)
            if operation == "Store":
                head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, LOAD.data_size)
                parts = [memoryview(head), memoryview(value), memoryview(b"\r\n")]
                while parts:
                    sent = link.sendmsg(parts)
                    while parts and sent >= len(parts[0]):
                        sent -= len(parts.pop(0))
                    if parts:
                        parts[0] = parts[0][sent:]
                good = link.recv(5, socket.MSG_WAITALL) == b"+OK\r\n"
            else:
                link.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
                good = link.recv_into(answer, 0, socket.MSG_WAITALL) == len(answer) and answer[:1] == b"$"
            if not good:
                raise AssertionError(f"{operation} was refused")
        results.put((wall, time.perf_counter(), time.process_time() - cpu))


def floor(redis: servers.Redis, connections: int) -> dict[str, side.Slice]:
    slices = {}
    for operation in side.OPERATIONS:
        count = REQUESTS // connections
        barrier, results = multiprocessing.Barrier(connections + 1), multiprocessing.SimpleQueue()
        workers = [
            multiprocessing.Process(target=bare, args=(redis.port, operation, worker, count, barrier, results))
            for worker in range(connections)
        ]
        for worker in workers:
            worker.start()
        server = redis.cpu_s()
        barrier.wait()
        times = [results.get() for _ in workers]
        server = redis.cpu_s() - server
        for worker in workers:
            worker.join()
        gib = count * connections * LOAD.data_size / side.GIB
        wall = max(end for _, end, _ in times) - min(begin for begin, _, _ in times)
        slices[operation] = side.Slice(gib * 1024 / wall, sum(cpu for *_, cpu in times) / gib, server / gib)
    return slices


def measured(connections: int, arguments, program: str, scratch: pathlib.Path) -> dict:
    with servers.Redis(program, scratch / f"redis-{connections}") as redis:
        spec = {"type": "resp", "host": "127.0.0.1", "port": redis.port, "num_workers": connections}
        lmcache = side.Lmcache(spec, LOAD, redis)
        results = side.in_turn({"LMCache": lmcache.slice, "bare": lambda: floor(redis, connections)}, arguments.slices)
        lmcache.close()
    return results


def row(connections: int, operation: str, results: dict) -> str:
    theirs, bare_ = results["LMCache"][operation], results["bare"][operation]
    median = {
        name: [statistics.median(pick(one) for one in slices) for slices in (theirs, bare_)]
        for name, pick in {
            "speed": lambda one: one.mib_s,
            "client": lambda one: one.client_s_per_gib,
            "server": lambda one: one.server_s_per_gib,
        }.items()
    }
    server_s = min(median["server"])
    one_thread = 1024 / median["speed"][0] / server_s
    all_cores = 1024 / median["speed"][0] / ((min(median["client"]) + server_s) / os.cpu_count())
    return (
        f"| {operation.lower()} | {connections} | {side.speed(theirs)} | {median['client'][0]:.2f} | {median['server'][0]:.2f} "
        f"| {side.speed(bare_)} | {median['client'][1]:.2f} | {median['server'][1]:.2f} "
        f"| {side.ratio(bare_, theirs)[1]} | {one_thread:.2f} | {all_cores:.2f} |"
    )


def document(arguments, rows: list[str]) -> str:
    return f"""# What any RESP client can reach on this machine

Made by `scripts/resp-floor.py --slices {arguments.slices} --connections {arguments.connections} \
--server {arguments.server} --congestion {arguments.congestion}`. Medians of {arguments.slices} slices (minimum to maximum), \
in turn, one server on loopback.
{side.machine()}. Values of 256 KiB. MiB/s and CPU seconds per GiB.

"Bare" are sockets in one process for each connection that move the values and do nothing else: `sendmsg` and `recv_into`, no
keys of LMCache, no tasks, no threads. The bounds take the lower of both costs: "one thread" is the ratio to LMCache at which
the server never waits, "all cores" the one at which client and server together leave no core idle. No client gets beyond
the lower of the two, and only one that overlaps everything reaches it.

| operation | connections | LMCache's runner | client | server | bare | client | server | bare to LMCache | one thread | all cores |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--connections", default="1,4,8")
    parser.add_argument("--server", default="valkey", help="target of scripts/peers.sh: valkey or valkey9")
    parser.add_argument("--congestion", default="cubic", help="TCP congestion control, in a network of its own (needs root)")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    side.in_own_namespaces(arguments.congestion)
    program, rows = servers.peers(arguments.server), []
    with tempfile.TemporaryDirectory() as scratch:
        for connections in map(int, arguments.connections.split(",")):
            results = measured(connections, arguments, program, pathlib.Path(scratch))
            rows += [row(connections, operation, results) for operation in side.OPERATIONS]
    side.write(arguments.out, document(arguments, rows))


if __name__ == "__main__":
    main()
