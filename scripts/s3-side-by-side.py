#!/usr/bin/env python3
"""Measures our `s3` adapter beside LMCache 0.5.6's own, interleaved, on S3-compatible servers that this script starts on
loopback: nginx (the fastest at hand, no signature check) and s3s-fs (a real S3 server that checks signatures).

LMCache's adapter runs twice: under LMCache's own runner in its own process, which is what a user of `lmcache bench l2` gets,
and through the bridge (`--via lmcache`) in our harness, where the server needs no path style. Each slice runs all, one after
the other; ratios are formed within a slice and their median counts. Objects are removed before each contestant, outside the
clock. The servers keep them in a tmpfs of their own, in huge pages or in small ones: with small pages most of what nginx does
for a store is to allocate them. nginx gets a worker for each core: with one, it and not the client is the limit.

    scripts/s3-side-by-side.py [--servers nginx,s3s-fs] [--sizes 256,1024] [--pages small,huge]
        [--workers CORES] [--num-keys 32] [--in-flight 4] [--congestion cubic] [--slices 7] [--out FILE]
"""

import argparse
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

BAR = 2.0


def wiped(directory: pathlib.Path, run):
    def wiped_run() -> dict[str, side.Slice]:
        for path in directory.rglob("*@*"):
            path.unlink()
        return run()

    return wiped_run


def measured(name: str, size_kib: int, arguments, scratch: pathlib.Path, installed: pathlib.Path) -> dict:
    load = side.Load(arguments.num_keys, arguments.in_flight, size_kib * 1024)
    if name == "nginx":
        server, bucket, model = servers.nginx(scratch, workers=arguments.workers), "", None
        directory = scratch / "data"
    else:
        # LMCache has no path style, but a model name with a slash makes the same request paths.
        server = servers.s3s_fs(installed / "bin" / "s3s-fs", scratch)
        bucket, model = f"/{servers.BUCKET}", f"{servers.BUCKET}/bench-model"
        directory = scratch / "data" / servers.BUCKET
    common = {"type": "s3", "s3_region": servers.REGION, "disable_tls": True}
    common |= {"aws_access_key_id": servers.ACCESS_KEY, "aws_secret_access_key": servers.SECRET_KEY}
    address = f"127.0.0.1:{server.port}"
    # HTTP/2 needs TLS, so LMCache speaks HTTP/1.1 here too; the field only spares its TLS context.
    theirs = {**common, "s3_endpoint": address, "s3_prefer_http2": False}
    flags = ["--io-depth", arguments.connections] if arguments.connections else []
    with server:
        lmcache = side.Lmcache(theirs, load, server, model)
        spec = {**common, "s3_endpoint": f"{address}{bucket}"}
        contestants = {
            "LMCache": wiped(directory, lmcache.slice),
            "ours": wiped(directory, lambda: side.ours(spec, load, server, *flags)),
        }
        if model is None:
            contestants["bridge"] = wiped(directory, lambda: side.bridged(theirs, load))
        results = side.in_turn(contestants, arguments.slices, rare=("bridge",))
        lmcache.close()
    return results


def rows_for(name: str, size_kib: int, pages: str, results: dict) -> tuple[list[str], list[str]]:
    speeds, costs = [], []
    for operation in side.OPERATIONS:
        one = {who: by_operation[operation] for who, by_operation in results.items()}
        label = f"| {name} | {pages} | {operation.lower()} | {size_kib} "
        path = one["ours"][0].path.rsplit(", ", 1)[1]
        row = f"{label}| {path} | {side.speed(one['ours'])} "
        for who in ("LMCache", "bridge"):
            if who in one:
                ratio, text = side.ratio(one["ours"], one[who])
                row += f"| {side.speed(one[who])} | {text} | {['no', 'yes'][ratio >= BAR]} "
            else:
                row += "| | | "
        speeds.append(row + "|")
        costs.append(f"{label}| {side.cost(one['ours'])} | {side.cost(one['LMCache'])} |")
    return speeds, costs


def document(arguments, speeds: list[str], costs: list[str]) -> str:
    return f"""# `s3` beside LMCache 0.5.6

Made by `scripts/s3-side-by-side.py --servers {arguments.servers} --sizes {arguments.sizes} --pages {arguments.pages} \
--workers {arguments.workers} --num-keys {arguments.num_keys} --in-flight {arguments.in_flight} --congestion {arguments.congestion} \
--slices {arguments.slices}`. Medians of {arguments.slices} slices (minimum to maximum), contestants in turn, servers on loopback
with their objects in a tmpfs of huge or small pages; nginx with {arguments.workers} workers. {side.machine()}. \
{arguments.num_keys} keys x {arguments.in_flight} submits, {side.ROUNDS} rounds. MiB/s; ratios are ours over theirs.

"LMCache's runner" is its adapter under its own runner in its own process, as in `lmcache bench l2`; "through the bridge" is
the same adapter in our harness (`--via lmcache`), {side.RARE_SLICES} slices.

| server | pages | operation | KiB | ours with | ours | LMCache's runner | ratio | at least 2 | through the bridge | ratio | at least 2 |
|---|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(speeds)}

CPU seconds per GiB, client and server, and the server's share of a core meanwhile. Near one core for each of its
workers the server is the limit; client and server together cannot use more than the machine has.

| server | pages | operation | KiB | ours: client | server | share | LMCache's runner: client | server | share |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(costs)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--num-keys", type=int, default=32)
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--connections", type=int, default=0, help="of ours; 0 is s3_num_io_threads, 64")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of nginx")
    parser.add_argument("--pages", default="small", help="of the servers' tmpfs")
    parser.add_argument("--congestion", default="cubic", help="TCP congestion control")
    parser.add_argument("--servers", default="nginx,s3s-fs")
    parser.add_argument("--sizes", default="256,1024", help="KiB")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    side.in_own_namespaces(arguments.congestion)
    installed = pathlib.Path(servers.peers("s3"))
    speeds, costs = [], []
    cells = [(name, int(size)) for name in arguments.servers.split(",") for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory() as mounts:
        for pages in arguments.pages.split(","):
            with side.memory(pathlib.Path(mounts, pages), pages == "huge") as memory:
                for name, size_kib in cells:
                    with tempfile.TemporaryDirectory(dir=memory) as scratch:
                        results = measured(name, size_kib, arguments, pathlib.Path(scratch), installed)
                    more = rows_for(name, size_kib, pages, results)
                    speeds += more[0]
                    costs += more[1]
    side.write(arguments.out, document(arguments, speeds, costs))


if __name__ == "__main__":
    main()
