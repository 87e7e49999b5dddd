"""LMCache's adapters for NIXL, Mooncake, Bigtable and Hugging Face buckets, and its raw_block with its real extension, through our
bridge: round trips, and exchange with the native adapters that keep the same files. Run by scripts/interop.sh with the LMCache
environment's Python. A missing peer is a failure with MUST_RUN=1, else a skip; nixl-native and bigtable are always a
skip."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import unittest.mock

from interop import hub
from lib import checks, native, servers
from lib.checks import require
from lib.peers import peer

SIZE = 256 << 10
OBJECTS = 8 * 2 * 2
FLAGS = ("--num-keys", 8, "--in-flight", 2, "--rounds", 2, "--lookup-max-hit-rate", 1, "--l1-align-bytes", 4096)
VIA = ("--via", "lmcache", "--python", sys.executable)
NATIVE = ("--via", "native")


@contextlib.contextmanager
def paths(*targets: str, **variables: str):
    """The environment in which LMCache finds what it needs."""
    folders = os.pathsep.join(peer(target) for target in targets)
    with unittest.mock.patch.dict(os.environ, {"PYTHONPATH": folders, **variables}):
        yield


def round_trip(spec: dict, *flags: object) -> str:
    run = native.l2(spec, *VIA, *FLAGS, *flags, "--no-skip-verify").expect(0)
    good, stored = run.metrics["verify"]["good"], run.metrics["op_0"]["total_success"]
    require(good == OBJECTS and stored == OBJECTS, f"{stored} stored and {good} good of {OBJECTS} objects")
    require(run.metrics["op_1"]["actual_hit_rate"] == 1.0, "a lookup missed what was stored")
    return f"{OBJECTS} objects stored, found and verified"


def we_verify(spec: dict) -> None:
    """Native: finds and verifies what LMCache stored."""
    found = native.l2(spec, *NATIVE, *FLAGS, "--only", "lookup").expect(0)
    require(found.metrics["op_0"]["actual_hit_rate"] == 1.0, "our lookup missed what LMCache stored")
    loaded = native.l2(spec, *NATIVE, *FLAGS, "--only", "load", "--no-skip-verify").expect(0)
    require(loaded.metrics["verify"]["good"] == OBJECTS, "not every object of LMCache's was good")


def theirs(spec: dict, place: pathlib.Path) -> dict:
    return {**spec, "backend_params": {**spec["backend_params"], "file_path": str(place)}}


# ---- NIXL -------------------------------------------------------------------------------------------------------------


def nixl_store(direct: str, scratch: pathlib.Path) -> str:
    params = {"file_path": str(scratch), "use_direct_io": direct}
    # A page of the pool has --l1-align-bytes.
    pages = 3 * 16 * SIZE // 4096
    spec = {"type": "nixl_store", "backend": "POSIX", "pool_size": pages, "backend_params": params}
    with paths("nixl"):
        proof = round_trip(spec)
        small = native.l2({**spec, "pool_size": 64}, *VIA, *FLAGS, "--only", "store").expect(1)
    require("Insufficient NIXL storage capacity" in small.stderr, f"not the reason: {small.stderr[:300]}")
    require(small.metrics["op_0"]["total_success"] == 0, "a pool of 64 pages took 256 KiB objects")
    return f"{proof}; a pool of 64 pages is refused with LMCache's reason"


def nixl_dynamic(shards: bool, scratch: pathlib.Path) -> str:
    params = {"use_direct_io": "true", "max_capacity_gb": "1", "shard_dirs": str(shards).lower()}
    spec = {"type": "nixl_store_dynamic", "backend": "POSIX", "backend_params": params}
    mine, its = theirs(spec, scratch / "mine"), theirs(spec, scratch / "its")
    with paths("nixl"):
        proof = round_trip(its)
        we_verify(its)
        native.l2(mine, *NATIVE, *FLAGS, "--only", "store").expect(0)
        # LMCache loads only what its own process has found before, so both happen in one.
        path = os.pathsep.join([str(native.SCRIPTS), os.environ["PYTHONPATH"]])
        command = [sys.executable, "-m", "interop.sdk", "--load", json.dumps(mine), scratch / "mine"]
        native.run(command, env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}).expect(0)
    same = sorted(str(path.relative_to(scratch / "its")) for path in (scratch / "its").rglob("*.bin"))
    ours = sorted(str(path.relative_to(scratch / "mine")) for path in (scratch / "mine").rglob("*.bin"))
    require(same == ours, f"other names: {same[:1]} and {ours[:1]}")
    return f"{proof}; the same names, and each side loads the other's files"


def load_as_lmcache(spec: dict, place: pathlib.Path) -> None:
    """In a process of its own, with NIXL: LMCache finds and loads every object, and the bytes are those of the files."""
    from lib import reference

    adapter = reference.Reference(spec, 8, 2, SIZE, 4096)
    for index in range(3):
        keys = adapter.keys(index)
        require(all(adapter.lookup(keys)), "LMCache's lookup misses our files")
        hits, payloads = adapter.load(keys)
        require(all(hits), "LMCache's load misses our files")
        for key, payload in zip((key for batch in keys for key in batch), payloads, strict=True):
            (path,) = place.rglob(f"*_{key.chunk_hash.hex()}.bin")
            require(path.read_bytes() == payload, f"LMCache loaded other bytes than {path} has")
    adapter.close()


def nixl_native(direct: str, scratch: pathlib.Path) -> str:
    """Its files are those of fs_native."""
    spec = {"type": "nixl_native", "backend": "POSIX", "backend_params": {"use_direct_io": direct}}
    with paths("nixl-native", "nixl"):
        (scratch / "its").mkdir()
        proof = round_trip(theirs(spec, scratch / "its"))
        we_verify({"type": "fs_native", "base_path": str(scratch / "its")})
        native.l2({"type": "fs_native", "base_path": str(scratch / "mine")}, *NATIVE, *FLAGS, "--only", "store").expect(0)
        mine = theirs(spec, scratch / "mine")
        found = native.l2(mine, *VIA, *FLAGS, "--only", "lookup").expect(0)
        require(found.metrics["op_0"]["actual_hit_rate"] == 1.0, "LMCache's lookup missed what ours stored")
        loaded = native.l2(mine, *VIA, *FLAGS, "--only", "load", "--no-skip-verify").expect(0)
        require(loaded.metrics["verify"]["good"] == OBJECTS, "LMCache did not load what ours stored")
    return f"{proof}; native fs_native and it load each other's files"


# ---- raw_block --------------------------------------------------------------------------------------------------------


def raw_block(fields: dict, scratch: pathlib.Path) -> str:
    device = scratch / "device"
    spec = {"type": "raw_block", "device_path": str(device), "slot_bytes": SIZE + 4096, "meta_total_bytes": 1 << 20, **fields}
    with paths("raw-block"):
        for first, second in ((VIA, NATIVE), (NATIVE, VIA)):
            device.write_bytes(b"")
            os.truncate(device, 32 << 20)
            native.l2(spec, *first, *FLAGS, "--only", "store").expect(0)
            for only in ("lookup", "load"):
                run = native.l2(spec, *second, *FLAGS, "--only", only, *(("--no-skip-verify",) * (only == "load"))).expect(0)
                require(run.metrics["op_0"]["total_success"] == OBJECTS, f"{only} of {second}: not every object")
            require(run.metrics["verify"]["good"] == OBJECTS, "not every object was good")
    return f"{OBJECTS} objects each way, recovered and verified by the other side"


# ---- services ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mooncake_master(scratch: pathlib.Path):
    rpc, http, metrics = servers.free_ports(3)
    program = pathlib.Path(peer("mooncake"), "mooncake", "mooncake_master")
    command = [program, "-rpc_address", "127.0.0.1", "-rpc_port", rpc, "-metrics_port", metrics]
    command += ["-enable_http_metadata_server=true", "-http_metadata_server_host", "127.0.0.1", "-http_metadata_server_port", http]
    with servers.Server(command, http, scratch / "master.log") as master:
        master.wait_for(rpc)
        yield {
            "type": "mooncake_store",
            "local_hostname": "127.0.0.1",
            "metadata_server": f"http://127.0.0.1:{http}/metadata",
            "master_server_addr": f"127.0.0.1:{rpc}",
            "protocol": "tcp",
            "global_segment_size": str(64 << 20),
            "local_buffer_size": str(64 << 20),
        }


def mooncake(_: None, scratch: pathlib.Path) -> str:
    with paths("mooncake-native"), mooncake_master(scratch) as spec:
        proof = round_trip(spec)
        small = native.l2({**spec, "global_segment_size": str(16 << 20)}, *VIA, *FLAGS, "--num-keys", 64, "--only", "store")
        stored = small.expect(1).metrics["op_0"]["total_success"]
        require(stored < 2 * 2 * 64, "a segment of 16 MiB took 64 MiB")
        return f"{proof}; a segment of 16 MiB takes {stored} of {2 * 2 * 64} objects and the others are reported as failed"


BIGTABLE = {"bigtable_project_id": "p", "bigtable_instance_id": "i", "bigtable_read_timeout_ms": 20_000, "bigtable_write_timeout_ms": 20_000}
MAKE_TABLE = """
from google.cloud import bigtable
bigtable.Client(project="p", admin=True).instance("i").table("t").create(column_families={"cf": None})
"""


def bigtable(layers: int, scratch: pathlib.Path) -> str:
    (port,) = servers.free_ports(1)
    # Google's library wants credentials even where none are used.
    who = scratch / "nobody.json"
    who.write_text(json.dumps({"type": "authorized_user", "client_id": "-", "client_secret": "-", "refresh_token": "-"}))
    emulator = [peer("bigtable"), "-host", "127.0.0.1", "-port", port]
    variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{port}", "GOOGLE_APPLICATION_CREDENTIALS": str(who)}
    with servers.Server(emulator, port, scratch / "log"), paths(**variables):
        subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_TABLE], check=True, capture_output=True)
        spec = {"type": "bigtable", **BIGTABLE, "layer_group_size": layers}
        proof = round_trip({**spec, "bigtable_table_name": "t"})
        absent = native.l2({**spec, "bigtable_table_name": "absent"}, *VIA, *FLAGS, "--only", "store").expect(1)
        require(absent.metrics["op_0"]["total_success"] == 0, "a table that is not there took objects")
        # Of a batch of single cells LMCache logs only how many failed.
        reason = ("absent", "not found") if layers else ("failed entries",)
        require(all(words in absent.stderr for words in reason), f"not the reason: {absent.stderr[:1000]}")
        return f"{proof}; without the table every store fails"


def hfbucket(_: None, scratch: pathlib.Path) -> str:
    folder = scratch / "contents"
    folder.mkdir()
    with hub.Hub(folder, SIZE) as server:
        variables = {"HF_ENDPOINT": server.url, "HF_TOKEN": "t", "HF_HOME": str(scratch / "home")}
        with paths(**variables):
            spec = {"type": "hfbucket", "bucket_handle": "hf://buckets/me/kv/pre", "download_tmp_dir": str(scratch / "tmp")}
            absent = native.l2(spec, *VIA, *FLAGS, "--only", "store").expect(1)
            require(absent.metrics["op_0"]["total_success"] == 0, "a bucket that is not there took objects")
            proof = round_trip({**spec, "create_bucket_if_missing": True})
        names = sorted(server.buckets["me/kv"])
        require(names[0] == "pre/bench-model%4000000000%400%40" + "0" * 32, f"another name: {names[0]}")
    return f"{proof}; names as in the document; without a bucket every store fails"


CHECKS = [
    *((f"nixl_store, POSIX, direct {direct}", nixl_store, direct) for direct in ("true", "false")),
    *((f"nixl_store_dynamic, POSIX, shards {shard}", nixl_dynamic, shard) for shard in (False, True)),
    *((f"nixl_native, POSIX, direct {direct}, and fs_native", nixl_native, direct) for direct in ("true", "false")),
    ("raw_block, real extension, posix", raw_block, {"use_odirect": False}),
    ("raw_block, real extension, O_DIRECT", raw_block, {"use_odirect": True}),
    ("raw_block, real extension, io_uring", raw_block, {"io_engine": "io_uring", "use_odirect": True}),
    ("mooncake_store, TCP", mooncake, None),
    ("bigtable, emulator, shards of layers", bigtable, 10),
    ("bigtable, emulator, one cell", bigtable, 0),
    ("hfbucket, stand-in hub", hfbucket, None),
]


def main() -> None:
    words = sys.argv[2:]
    chosen = [(f"sdk, {name}", *check) for name, *check in CHECKS if not words or any(word in name for word in words)]
    checks.run_all(chosen, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    if sys.argv[1] == "--load":
        load_as_lmcache(json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))
    else:
        main()
