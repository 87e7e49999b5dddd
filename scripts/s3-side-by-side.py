#!/usr/bin/env python3
"""Measures our `s3` adapter beside LMCache 0.5.6's own, interleaved, on S3-compatible servers that this script starts on
loopback: nginx (the fastest at hand, no signature check) and s3s-fs (a real S3 server that checks signatures).

LMCache's adapter is driven through its own interface in its own process; its request paths are ours because a model name
with a slash stands in for the path style that it does not have. Each slice runs both, one after the other; ratios are
formed within a slice and their median counts. Objects are removed before each slice, outside the clock.

    scripts/s3-side-by-side.py [--slices 7] [--connections 0] [--dir DIR] [--out FILE]
"""

import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "interop"))
sys.dont_write_bytecode = True
import servers
import side_by_side as side

NUM_KEYS, IN_FLIGHT = 32, 4
BAR = 2.0


def wiped(directory: pathlib.Path) -> None:
    for path in directory.rglob("*@*"):
        path.unlink()


def rows_for(name: str, size_kib: int, arguments, scratch: pathlib.Path, installed: pathlib.Path) -> list[str]:
    size = size_kib * 1024
    if name == "nginx":
        server, bucket, model = servers.nginx(scratch), "", None
        directory = scratch / "data"
    else:
        server = servers.s3s_fs(installed / "bin" / "s3s-fs", scratch)
        bucket, model = f"/{servers.BUCKET}", f"{servers.BUCKET}/bench-model"
        directory = scratch / "data" / servers.BUCKET
    common = {"type": "s3", "s3_region": servers.REGION, "disable_tls": True}
    common |= {"aws_access_key_id": servers.ACCESS_KEY, "aws_secret_access_key": servers.SECRET_KEY}
    address = f"127.0.0.1:{server.port}"
    with server:
        # HTTP/2 needs TLS, so LMCache speaks HTTP/1.1 here too; the field only spares its TLS context.
        lmcache = side.Lmcache(
            {**common, "s3_endpoint": address, "s3_prefer_http2": False}, NUM_KEYS, IN_FLIGHT, size, model
        )
        flags = ["--io-depth", arguments.connections] if arguments.connections else []
        results = {"ours": [], "LMCache": []}
        for _ in range(arguments.slices):
            wiped(directory)
            results["LMCache"].append(lmcache.slice())
            wiped(directory)
            spec = {**common, "s3_endpoint": f"{address}{bucket}"}
            results["ours"].append(side.ours(spec, NUM_KEYS, IN_FLIGHT, size, *flags))
        lmcache.close()
    rows = []
    for operation in ("Store", "Load"):
        speed = {who: [one[operation] for one in slices] for who, slices in results.items()}
        ratio, text = side.ratio(speed["ours"], speed["LMCache"])
        path = results["ours"][0]["path"].rsplit(", ", 1)[1]
        met = ["no", "yes"][ratio >= BAR]
        rows.append(
            f"| {name} | {operation.lower()} | {size_kib} | {path} | {side.median(speed['ours'])} "
            f"| {side.median(speed['LMCache'])} | {text} | {met} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--connections", type=int, default=0, help="of ours; 0 is s3_num_io_threads, 64")
    parser.add_argument("--dir", default="/dev/shm", help="where the servers keep their objects")
    parser.add_argument("--servers", default="nginx,s3s-fs")
    parser.add_argument("--sizes", default="256,1024", help="KiB")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    installed = pathlib.Path(servers.peers("s3"))
    rows = []
    for name in arguments.servers.split(","):
        for size_kib in map(int, arguments.sizes.split(",")):
            with tempfile.TemporaryDirectory(dir=arguments.dir) as scratch:
                rows += rows_for(name, size_kib, arguments, pathlib.Path(scratch), installed)
    head = f"""# `s3` beside LMCache 0.5.6

Made by `scripts/s3-side-by-side.py --servers {arguments.servers} --sizes {arguments.sizes} --slices {arguments.slices}`; medians of {arguments.slices} slices (minimum to maximum), both in turn, servers on
loopback with their objects in memory (tmpfs). {side.machine()}. {NUM_KEYS} keys x {IN_FLIGHT} submits. MiB/s; the ratio is ours over LMCache's.

| server | operation | KiB | ours with | ours | LMCache | ratio | at least 2 |
|---|---|---|---|---|---|---|---|
"""
    side.write(arguments.out, head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
