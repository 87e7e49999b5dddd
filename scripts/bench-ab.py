#!/usr/bin/env python3
"""Two builds of `l2` and `server` on the same stores and servers, in turns: what a round, an operation and a byte cost.

Usage: bench-ab.py BEFORE AFTER [--rounds N] [--only WORD] [--out FILE]

BEFORE and AFTER are binaries; mock servers are BEFORE's for both. All figures are times: a ratio above 1 says that AFTER is
slower. Rounds and the control are those of engine-ab.py. Files lie in /dev/shm, where no disk adds noise; valkey and nginx come
from scripts/peers.sh, and figures that need them are left out without.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "interop"))
sys.dont_write_bytecode = True
import servers

SHAPE = "(2,64,16,8,128):float16:8"
# Requests of a few KiB, so that a run has hundreds of lookups and no copy disturbs them.
SMALL_SHAPE = "(2,64,16,2,16):float16:2"
L2_ROUNDS, WARMUP = 30, 3


def engine_ab():
    spec = importlib.util.spec_from_file_location("engine_ab", HERE / "engine-ab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def metrics(binary, *arguments):
    command = [str(word) for word in (binary, *arguments, "-q", "--format", "json")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["metrics"]


def l2(spec, operation, size_kib, *flags, wipe=None):
    """A measure of the median round of an operation. `wipe` is a folder to empty first; other stores replace what is there."""
    arguments = ["l2", "--l2-adapter", json.dumps(spec), "--data-size-kb", size_kib, "--num-keys", 32, "--in-flight", 4]
    arguments += ["--rounds", L2_ROUNDS, "--warmup-rounds", WARMUP, "--l1-align-bytes", 4096, *flags]
    def measure(binary, _):
        for file in wipe.glob("bench-model*") if wipe else []:
            file.unlink()
        return metrics(binary, *arguments, "--only", operation)["op_0"]["duration_p50_ms"]

    return measure


def server_figure(url, operation, shape=SHAPE, sequences=40):
    """Its CPU time for transfers: what the server takes of the rest is not the client's."""

    def measure(binary, _):
        run = ["--kvcache-shape-spec", shape, "--end", sequences, "--interval", 0]
        got = metrics(binary, "server", "--mode", "cpu", *url, *run)
        if operation == "warm_lookup":
            return got[operation][f"{operation}_p50"]
        return got["detail"][operation]["cpu_p50_ms"]

    return measure


def network(scratch):
    found = []
    try:
        redis = servers.Redis(servers.peers("valkey"), scratch / "valkey", None)
        found.append((redis, {"type": "resp", "host": "127.0.0.1", "port": redis.port, "num_workers": 4}, "resp, valkey"))
    except (OSError, subprocess.SubprocessError, SystemExit) as error:
        print(f"skipped: resp ({error})")
    try:
        nginx = servers.nginx(scratch / "nginx", workers=2)
        spec = {"type": "s3", "s3_region": servers.REGION, "disable_tls": True, "s3_endpoint": f"127.0.0.1:{nginx.port}",
                "aws_access_key_id": servers.ACCESS_KEY, "aws_secret_access_key": servers.SECRET_KEY, "s3_num_io_threads": 8}
        found.append((nginx, spec, "s3, nginx"))
    except (OSError, subprocess.SubprocessError, SystemExit) as error:
        print(f"skipped: s3 ({error})")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="figures whose name has this in it")
    parser.add_argument("--out")
    args = parser.parse_args()
    ab = engine_ab()
    rows = list(ab.HEADER)
    print("\n".join(rows))

    def compare(name, measure):
        if args.only in name:
            rows.append(ab.compare(name, "ms", measure, args.before, args.after, args.rounds))

    null = {"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": "inf"}
    compare("l2 null device, 1024 keys a round", l2(null, "store", 4, "--num-keys", 256))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lmcache-bench-ab-", dir="/dev/shm"))
    try:
        for size_kib in (4, 256):
            spec = {"type": "fs", "base_path": str(folder / f"fs-{size_kib}")}
            compare(f"l2 fs, store, {size_kib} KiB", l2(spec, "store", size_kib))
            compare(f"l2 fs, load, {size_kib} KiB", l2(spec, "load", size_kib))
        for server, spec, name in network(folder):
            with server:
                for size_kib in (4, 256):
                    for operation in ("store", "lookup", "load"):
                        # This nginx answers a PUT that replaces a file with nothing.
                        wipe = folder / "nginx" / "data" if operation == "store" and spec["type"] == "s3" else None
                        compare(f"l2 {name}, {operation}, {size_kib} KiB", l2(spec, operation, size_kib, wipe=wipe))
    finally:
        shutil.rmtree(folder)
    for mode, more in (("inline", []), ("shared memory", ["--shm-name", f"ab-{os.getpid()}"])):
        command = [args.before, "mock", "server", "--port", "0", "--http-port", "0", *more]
        mock = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            _, _, rpc, http = mock.stdout.readline().split()
            url = ["--rpc-url", rpc, "--url", http]
            for operation in ("cold_store", "warm_retrieve", "warm_lookup"):
                compare(f"server {mode}, {operation.replace('_', ' ')}", server_figure(url, operation))
            compare(f"server {mode}, warm lookup, small", server_figure(url, "warm_lookup", SMALL_SHAPE, 300))
        finally:
            mock.terminate()
            mock.wait()
    if args.out:
        ab.save(args.out, "Two builds of `l2` and `server` in one run", f"`scripts/bench-ab.py`, {args.rounds} rounds",
                "clients and servers share them.", rows)


if __name__ == "__main__":
    main()
