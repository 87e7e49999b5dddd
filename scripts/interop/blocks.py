"""The adapters on files and devices beside LMCache's own: what one wrote the other reads, and images are the same to the byte.

LMCache's raw_block needs a Rust extension that its wheel does not have: scripts/peers/peers.sh raw-block builds it. With MUST_RUN=0 and
without the extension a stand-in makes its system calls (stand_in/); everything else is the real code.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator

from interop import fs
from lib import checks, native, reference
from lib.checks import require
from lib.peers import Skip

SEED = 7
NUM_KEYS, SIZE_KIB, ROUNDS = 12, 64, 2
SIZE = SIZE_KIB * 1024
KEYS = NUM_KEYS * ROUNDS
META, DEVICE = 256 << 10, 16 << 20
FLAGS = ("--num-keys", NUM_KEYS, "--data-size-kb", SIZE_KIB, "--l1-align-bytes", 4096, "--warmup-rounds", 1, "--seed", SEED)


def ours(spec: dict, *flags: object) -> native.Run:
    return native.l2(spec, *FLAGS, *flags)


@contextlib.contextmanager
def theirs(spec: dict, in_flight: int = 1):
    adapter = reference.Reference(spec, NUM_KEYS, in_flight, SIZE, 4096)
    try:
        yield adapter
    finally:
        adapter.close()


def file_name(key) -> str:
    model = key.model_name.replace("/", "-SEP-")
    return f"{model}@0x{key.kv_rank:08x}@{key.object_group_id:x}@{key.chunk_hash.hex()}.data"


def objects(scratch: pathlib.Path) -> dict[str, bytes]:
    """What our benchmark stores under each key with these flags, by file name: the stamps depend on nothing else."""
    base = scratch / "expected"
    if not base.exists():
        ours({"type": "fs", "base_path": str(base)}, "--only", "store").expect(0)
    return {path.name: path.read_bytes() for path in base.iterdir()}


def flat(keys: list[list]) -> list:
    return [key for batch in keys for key in batch]


def device(scratch: pathlib.Path) -> pathlib.Path:
    path = scratch / "device"
    path.write_bytes(b"")
    os.truncate(path, DEVICE)
    return path


def raw_block(path: pathlib.Path, **more: object) -> dict:
    return {"type": "raw_block", "device_path": str(path), "slot_bytes": SIZE + 4096, "meta_total_bytes": META,
            "use_odirect": False, **more}


def require_loads(adapter, index: int, expected: dict[str, bytes]) -> None:
    keys = adapter.keys(index)
    require(all(adapter.lookup(keys)), f"LMCache's lookup misses keys of round {index}")
    hits, loaded = adapter.load(keys)
    require(all(hits), f"LMCache's load misses keys of round {index}")
    for key, payload in zip(flat(keys), loaded, strict=True):
        require(payload == expected[file_name(key)], f"LMCache loaded other bytes for {file_name(key)}")


def store_all(adapter, expected: dict[str, bytes]) -> None:
    for index in range(ROUNDS):
        keys = adapter.keys(index)
        adapter.store(keys, [expected[file_name(key)] for key in flat(keys)])


def require_we_load(spec: dict) -> None:
    run = ours(spec, "--only", "load", "--no-skip-verify").expect(0)
    fs.require_all_found(run, "Load", types.SimpleNamespace(keys_per_round=NUM_KEYS))


# ---- files ------------------------------------------------------------------------------------------------------------


def native_files(fields: dict, scratch: pathlib.Path) -> str:
    expected = objects(scratch)
    mine = {"type": "fs_native", "base_path": str(scratch / "mine"), **fields}
    ours(mine, "--only", "store").expect(0)
    with theirs(mine) as adapter:
        for index in range(ROUNDS):
            require_loads(adapter, index, expected)
    its = {**mine, "base_path": str(scratch / "its")}
    with theirs(its) as adapter:
        store_all(adapter, expected)
    require_we_load(its)
    same = {path.name: path.stat().st_size for path in (scratch / "mine").glob("*.data")}
    require(same == {path.name: path.stat().st_size for path in (scratch / "its").glob("*.data")}, "other names or sizes")
    return f"each loads the {KEYS} objects that the other stored, and names and sizes are the same"


def nixl_names(_argument: None, scratch: pathlib.Path) -> str:
    """Importing LMCache's module needs the names that it imports from NIXL, not what they do."""
    api = types.ModuleType("nixl._api")
    for name in ("nixl_agent", "nixl_agent_config", "nixl_xfer_handle", "nixlBind"):
        setattr(api, name, type(name, (), {}))
    sys.modules.setdefault("nixl", types.ModuleType("nixl"))
    sys.modules.setdefault("nixl._api", api)
    from lmcache.v1.distributed.l2_adapters.nixl_store_agents import dynamic_nixl_store_agent as agent

    with theirs({"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 1}) as adapter:
        keys = flat(adapter.keys(0)) + flat(adapter.keys(1))
    for shard, name in ((False, agent._object_key_to_filename), (True, agent._object_key_to_relpath)):
        base = scratch / f"nixl-{shard}"
        params = {"file_path": str(base), "use_direct_io": "false", "max_capacity_gb": "1", "shard_dirs": str(shard).lower()}
        ours({"type": "nixl_store_dynamic", "backend": "POSIX", "backend_params": params}, "--only", "store").expect(0)
        found = {str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()}
        require(found == {name(key) for key in keys}, f"other names with shard_dirs={shard}: {sorted(found)[:3]}")
    return f"the {len(keys)} files have the names that LMCache's own functions give, flat and sharded"


# ---- raw_block --------------------------------------------------------------------------------------------------------


def same_image(engine: str, scratch: pathlib.Path) -> str:
    expected, path = objects(scratch), device(scratch)
    with theirs(raw_block(path)) as adapter:
        store_all(adapter, expected)
    image = path.read_bytes()
    device(scratch)
    ours(raw_block(path, io_engine=engine), "--only", "store").expect(0)
    mine = path.read_bytes()
    differs = next((at for at in range(DEVICE) if image[at] != mine[at]), None) if image != mine else None
    require(differs is None, f"the images differ from byte {differs} on")
    require(image[:8] == b"LMCIDX01" and image[META : META + 8] == b"LMCBLK01", "the image is empty")
    return f"both leave the same {DEVICE >> 20} MiB: checkpoint, {KEYS} slot headers and objects"


def raw_to_theirs(engine: str, scratch: pathlib.Path) -> str:
    expected, path = objects(scratch), device(scratch)
    direct = engine == "io_uring"
    ours(raw_block(path, io_engine=engine, use_odirect=direct), "--only", "store").expect(0)
    with theirs(raw_block(path)) as adapter:
        for index in range(ROUNDS):
            require_loads(adapter, index, expected)
        require(not any(adapter.lookup(adapter.keys(ROUNDS))), "LMCache finds keys that nobody stored")
    return f"LMCache recovers and loads the {KEYS} objects that we stored"


def raw_to_ours(_argument: None, scratch: pathlib.Path) -> str:
    expected, path = objects(scratch), device(scratch)
    with theirs(raw_block(path)) as adapter:
        store_all(adapter, expected)
    for more in ({}, {"io_engine": "io_uring", "use_odirect": True}):
        require_we_load(raw_block(path, **more))
    return f"we recover, load and verify the {KEYS} objects that LMCache stored"


def lines_of(pipe) -> Iterator[str]:
    """The lines of an unbuffered pipe. Few bytes at a time, so that the writer cannot be much more than a full pipe ahead."""
    rest = b""
    while part := pipe.read(64):
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode() for line in lines)


def our_crash(engine: str, scratch: pathlib.Path) -> str:
    """Killed in mid-store: LMCache finds exactly what we find, and its bytes are right."""
    path = device(scratch)
    os.truncate(path, 256 << 20)
    ours(raw_block(path), "--only", "store").expect(0)
    spec = raw_block(path, io_engine=engine, meta_checkpoint_interval_sec=1, meta_idle_quiet_ms=0)
    rounds = ("--rounds", 200)
    command = [native.binary(), "l2", "--l2-adapter", json.dumps(spec), *map(str, FLAGS), *map(str, rounds), "--only", "store"]
    # The pipe holds some 85 lines: a child whose reader does not run waits before its last round.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, pipesize=4096) as child:
        for line in lines_of(child.stdout):
            if "Round 60:" in line:
                child.send_signal(signal.SIGKILL)
                break
        child.stdout.close()
        require(child.wait() == -signal.SIGKILL, "the run ended before it was killed")
    expected = scratch / "long"
    ours({"type": "fs", "base_path": str(expected)}, "--only", "store", *rounds).expect(0)
    found = 0
    with theirs(raw_block(path)) as adapter:
        for index in range(201):
            keys = adapter.keys(index)
            there = adapter.lookup(keys)
            hits, loaded = adapter.load(keys)
            require(hits == there, f"LMCache's lookup and load disagree in round {index}")
            for key, hit, payload in zip(flat(keys), hits, loaded, strict=True):
                require(not hit or payload == (expected / file_name(key)).read_bytes(), f"wrong bytes for {file_name(key)}")
            found += sum(hits) if index else 0
    load = ours(raw_block(path), "--only", "load", "--no-skip-verify", *rounds)
    mine = fs.operation(load, "Load")["total_success"]
    require(mine == found, f"LMCache recovers {found} objects of measured rounds and we {mine}")
    require(load.metrics["verify"]["bad"] == 0, "we recover objects that are not whole")
    return f"after a kill both recover the same {found + NUM_KEYS} objects, all whole"


def their_crash(_argument: None, scratch: pathlib.Path) -> str:
    objects(scratch)
    path = device(scratch)
    subprocess.run([sys.executable, "-m", "interop.blocks", "--crash", path, scratch], check=True, timeout=600)
    run = ours(raw_block(path), "--only", "load", "--rounds", 1, "--warmup-rounds", 0, "--no-skip-verify").expect(0)
    fs.require_all_found(run, "Load", types.SimpleNamespace(keys_per_round=NUM_KEYS))
    lost = ours(raw_block(path), "--only", "load").expect(1)
    require(fs.operation(lost, "Load")["total_success"] == 0, "we find objects that no checkpoint names")
    return f"we recover and verify the {NUM_KEYS} objects of its last checkpoint and no other"


def crash(path: pathlib.Path, scratch: pathlib.Path) -> None:
    """A process of LMCache that dies without closing: the second round is on the device and in no checkpoint."""
    expected = objects(scratch)
    with theirs(raw_block(path)) as adapter:
        for index in range(ROUNDS):
            keys = adapter.keys(index)
            adapter.store(keys, [expected[file_name(key)] for key in flat(keys)])
            if index == 0:
                adapter.adapter._core.checkpoint_now()
        os._exit(0)


def loop_device(_argument: None, scratch: pathlib.Path) -> str:
    expected, path = objects(scratch), device(scratch)
    # Another program may take the device between the search and the use.
    for _ in range(5):
        made = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            break
        time.sleep(0.2)
    if made.returncode != 0:
        raise Skip(f"this machine makes no loop device: {made.stderr.strip()}")
    loop = made.stdout.strip()
    try:
        ours(raw_block(loop, io_engine="io_uring", use_odirect=True), "--only", "store").expect(0)
        require_we_load(raw_block(loop, use_odirect=True))
        with theirs(raw_block(loop)) as adapter:
            require_loads(adapter, 1, expected)
        held = os.open(loop, os.O_RDWR | os.O_EXCL)
        refused = ours(raw_block(loop), "--only", "load").expect(1)
        os.close(held)
        require("mounted or in use" in refused.stderr, refused.stderr)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
    return f"{KEYS} objects on a loop device with O_DIRECT, loaded by both; in use it is refused"


# ---- memory -----------------------------------------------------------------------------------------------------------


def same_dax(_argument: None, scratch: pathlib.Path) -> str:
    expected = objects(scratch)
    images = []
    for name in ("its", "mine"):
        path = scratch / name
        path.write_bytes(b"")
        os.truncate(path, DEVICE)
        spec = {"type": "dax", "device_path": str(path), "max_dax_size_gb": DEVICE / 2**30, "slot_bytes": SIZE + 4096}
        if name == "its":
            with theirs(spec) as adapter:
                # LMCache's own benchmark gives objects without these two, which its dax refuses.
                for item in flat(adapter.objects):
                    item.meta.shapes, item.meta.dtypes = [item.meta.shape], [item.meta.dtype]
                store_all(adapter, expected)
        else:
            ours(spec, "--no-skip-verify").expect(0)
        images.append(path.read_bytes())
    require(images[0] == images[1], "the two devices differ")
    require(images[0][SIZE + 4096 :][:8] == b"LMCBv001", "the second slot is empty")
    return f"both leave the same {DEVICE >> 20} MiB"


def same_faults(fields: dict, scratch: pathlib.Path) -> str:
    expected = objects(scratch)
    inner = {"type": "fs_native", "base_path": str(scratch / "inner")}
    spec = {"type": "fault_inject", "inner": inner, **fields}
    dropped = set()
    with theirs(spec) as adapter:
        store_all(adapter, expected)
        keys = adapter.keys(0)
        require(all(adapter.lookup(keys)), "LMCache's lookup misses keys")
        hits, _ = adapter.load(keys)
        dropped = {file_name(key) for key, hit in zip(flat(keys), hits, strict=True) if not hit}
    run = ours(spec, "--only", "load", "--rounds", 1, "--warmup-rounds", 0)
    mine = {line.split(": ")[1] for line in run.stderr.splitlines() if "dropped on purpose" in line}
    found = fs.operation(run, "Load")["total_success"]
    require(mine == dropped and found == NUM_KEYS - len(dropped), f"LMCache drops {sorted(dropped)}, we {sorted(mine)}")
    run.expect(1 if dropped else 0)
    return f"both drop the same {len(dropped)} of {NUM_KEYS} loads"


def same_mock(_argument: None, scratch: pathlib.Path) -> str:
    spec = {"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 4}
    report = scratch / "report.json"
    plain = FLAGS[: FLAGS.index("--seed")]
    reference.command_line(spec, *plain, "--rounds", 1, "--format", "json", "--output", report, "-q")
    metrics = json.loads(report.read_text())["metrics"]
    run = ours(spec, "--no-skip-verify").expect(0)
    for index in range(3):
        its, mine = metrics[f"op_{index}"], run.metrics[f"op_{index}"]
        require(its["total_success"] == mine["total_success"], f"{its['operation']}: {its} and {mine}")
    return "both command lines report the same successes"


def main() -> None:
    if sys.argv[1] == "--crash":
        crash(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    direct = {"use_odirect": True, "relative_tmp_dir": "a/b"}
    # Few enough that our run names each of them.
    faults = {"rate": 0.2, "seed": 3, "gap_indices": [1], "gap_tail_ratios": [0, 0.5]}
    all_checks = [
        ("fs_native, buffered", native_files, {"num_workers": 2}),
        ("fs_native, O_DIRECT and relative_tmp_dir", native_files, direct),
        ("nixl_store_dynamic, names", nixl_names, None),
        ("raw_block, same image, posix", same_image, "posix"),
        ("raw_block, same image, io_uring", same_image, "io_uring"),
        ("raw_block, ours to LMCache, posix", raw_to_theirs, "posix"),
        ("raw_block, ours to LMCache, io_uring and O_DIRECT", raw_to_theirs, "io_uring"),
        ("raw_block, LMCache to ours", raw_to_ours, None),
        ("raw_block, our crash, posix", our_crash, "posix"),
        ("raw_block, our crash, io_uring", our_crash, "io_uring"),
        ("raw_block, LMCache's crash", their_crash, None),
        ("raw_block, loop device", loop_device, None),
        ("dax, same device", same_dax, None),
        ("fault_inject, the same keys", same_faults, faults),
        ("fault_inject, none", same_faults, {}),
        ("mock, both command lines", same_mock, None),
    ]
    checks.run_all(all_checks, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
