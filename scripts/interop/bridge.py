"""LMCache's adapters through our bridge: round trips, exchange with native adapters, faults, messages. Run by
scripts/interop.sh with the LMCache environment's Python, which the bridge uses too."""

import json
import os
import pathlib
import subprocess
import sys

from interop import bridge_specs
from lib import checks, native, reference_serde
from lib.checks import require

VIA = ("--via", "lmcache", "--python", sys.executable)
SHAPE = ("--num-keys", 8, "--in-flight", 2, "--rounds", 2, "--lookup-max-hit-rate", 1)
OBJECTS = 8 * 2 * 2
MOCK = {"type": "mock", "max_size_gb": 1, "mock_bandwidth_gb": 4}


def dax(scratch: pathlib.Path) -> dict:
    device = scratch / "dax"
    device.write_bytes(b"")
    os.truncate(device, 64 << 20)
    return {"type": "dax", "device_path": str(device), "max_dax_size_gb": 0.0625, "slot_bytes": 256 << 10}


def plugin(kind: str, class_name: str, **params: object) -> dict:
    return {"type": kind, "module_path": "bridge_plugin", "class_name": class_name, "adapter_params": params}


ROUND_TRIPS = {
    "mock": lambda scratch: MOCK,
    "fs": lambda scratch: {"type": "fs", "base_path": str(scratch / "s")},
    "fs, O_DIRECT": lambda scratch: {"type": "fs", "base_path": str(scratch / "s"), "use_odirect": True},
    "fs_native": lambda scratch: {"type": "fs_native", "base_path": str(scratch / "s"), "num_workers": 2},
    "fs_native, O_DIRECT": lambda scratch: {"type": "fs_native", "base_path": str(scratch / "s"), "use_odirect": True},
    "fault_inject": lambda scratch: {"type": "fault_inject", "inner": MOCK},
    "dax": dax,
    "plugin": lambda scratch: plugin("plugin", "MemoryAdapter"),
    "native_plugin": lambda scratch: plugin("native_plugin", "MemoryConnector"),
}


def round_trip(name: str, scratch: pathlib.Path) -> str:
    # The cost is the best of three, because a busy machine holds up some runs.
    for attempt in range(3):
        folder = scratch / str(attempt)
        folder.mkdir()
        run = native.l2(ROUND_TRIPS[name](folder), *VIA, *SHAPE, "--l1-align-bytes", 4096, "--no-skip-verify").expect(0)
        metrics = run.metrics
        require(metrics["verify"]["good"] == OBJECTS, f"{metrics['verify']['good']} of {OBJECTS} objects were good")
        require(metrics["op_1"]["actual_hit_rate"] == 1.0, "a lookup missed what was stored")
        cost = metrics["bridge"]["bridge_submit_us_p50"]
        if 0 < cost < 10_000:
            break
    require(0 < cost < 10_000, f"the bridge costs {cost} us per submit")
    return f"{OBJECTS} objects verified, bridge {cost:.0f} us per submit"


def exchange(argument: tuple, scratch: pathlib.Path) -> str:
    """What one side stores, the other finds, loads and verifies."""
    kind, direct, first, second = argument
    theirs = {"type": kind, "base_path": str(scratch / "s"), "use_odirect": direct}
    sides = {"lmcache": (theirs, VIA), "native": ({**theirs, "type": "fs"}, ("--via", "native"))}
    flags = (*SHAPE, "--l1-align-bytes", 4096)
    spec, via = sides[first]
    native.l2(spec, *via, *flags, "--only", "store").expect(0)
    spec, via = sides[second]
    found = native.l2(spec, *via, *flags, "--only", "lookup").expect(0)
    require(found.metrics["op_0"]["actual_hit_rate"] == 1.0, "a lookup missed what was stored")
    loaded = native.l2(spec, *via, *flags, "--only", "load", "--no-skip-verify").expect(0)
    require(loaded.metrics["verify"]["good"] == OBJECTS, "not every object was good")
    again = native.l2(spec, *via, *flags, "--only", "store").expect(0)
    already = again.metrics["detail_0"]["keys_already_there"]
    require(already == OBJECTS, f"{already} of {OBJECTS} keys count as there already when stored again")
    return f"{OBJECTS} objects stored by {first} and verified through {second}"


def serde(bits: int, scratch: pathlib.Path) -> str:
    """LMCache's aesgcm opens what ours sealed, and ours what LMCache's sealed."""
    key = scratch / "master.key"
    key.write_bytes(os.urandom(32))
    theirs = reference_serde.Serde(key.read_bytes(), bits, 256 << 10)
    block = {"type": "aesgcm", "master_key_path": str(key), "aes_bits": bits}
    spec = lambda name: {"type": "fs", "base_path": str(scratch / name)}
    sealed = lambda name: {**spec(name), "serde": block}
    native.l2(sealed("ours-sealed"), "--apply-serde", *SHAPE, "--only", "store").expect(0)
    opened = reference_serde.translate(scratch / "ours-sealed", scratch / "theirs-opened", theirs.open)
    native.l2(spec("ours-plain"), *SHAPE, "--only", "store").expect(0)
    reference_serde.translate(scratch / "ours-plain", scratch / "theirs-sealed", theirs.seal)
    load = (*SHAPE, "--only", "load", "--no-skip-verify")
    for run in (native.l2(spec("theirs-opened"), *load), native.l2(sealed("theirs-sealed"), "--apply-serde", *load)):
        good = run.expect(0).metrics["verify"]["good"]
        require(good == OBJECTS, f"{good} of {OBJECTS} objects were good")
    return f"{opened} frames of ours opened by LMCache, {OBJECTS} of LMCache's verified by ours"


def injected_gaps(_: object, scratch: pathlib.Path) -> str:
    spec = {"type": "fault_inject", "inner": MOCK, "gap_indices": [1], "gap_tail_ratios": [0, 0.5, 1]}
    run = native.l2(spec, *VIA, "--num-keys", 8, "--no-skip-verify").expect(1)
    missing = run.metrics["detail_2"]["keys_missing"]
    require(missing == 4, f"{missing} keys are missing, not the four at 0, 1, 4 and 7")
    require(run.metrics["verify"]["good"] == 4, "the other four were not good")
    return "keys 0, 1, 4 and 7 of 8 are missing, the others verified"


def refusal(argument: tuple, scratch: pathlib.Path) -> str:
    spec, python, code, words = argument
    run = native.l2(spec, "--via", "lmcache", "--python", python or sys.executable, "--only", "lookup").expect(code)
    message = run.stderr.strip()
    require(words in message and "\n" not in message, f"not one sentence with {words!r}: {message}")
    return message


REFUSALS = {
    "no LMCache": (MOCK, "/usr/bin/python3", 1, "install LMCache there with"),
    "no NIXL": (
        {"type": "nixl_store", "backend": "OBJ", "pool_size": 1},
        None,
        1,
        "needs NIXL: `" + sys.executable + " -m pip install nixl`",
    ),
    "no extension": ({"type": "aerospike", "hosts": "h:1"}, None, 1, "requires the C++ Aerospike extension"),
    "a plugin that fails": (plugin("plugin", "MemoryAdapter", fail="no luck"), None, 1, "adapter: no luck"),
    "a path": ({"type": "hf3fs", "mount_point": "/nope", "base_paths": "/nope"}, None, 2, "mount_point does not exist"),
}


def messages_agree(_: object, scratch: pathlib.Path) -> str:
    """Every spec of bridge_specs: our message is LMCache's. What is right fails later here, at a Python that is not there."""
    checked = 0
    for spec in bridge_specs.specs():
        theirs = bridge_specs.theirs(spec)
        command = [native.binary(), "l2", "--python", "/no/such/python", "--l2-adapter", json.dumps(spec)]
        command += ["--only", "load"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        message = done.stderr.strip()
        # LMCache opens these paths while it parses; ours leaves that to it.
        if theirs is None or "Invalid path configuration" in theirs:
            agree = done.returncode == 1 and "could not start /no/such/python" in message
        else:
            agree = done.returncode == 2 and message == f"Error parsing L2 adapter config: {theirs}"
        require(agree, f"{json.dumps(spec)}\n  LMCache: {theirs}\n  ours:    {message}")
        checked += 1
    return f"{checked} specs"


def main() -> None:
    # Where the plugins are.
    os.environ["PYTHONPATH"] = str(pathlib.Path(__file__).parent)
    pairs = [("lmcache", "native"), ("native", "lmcache")]
    exchanges = [(kind, direct, *pair) for kind in ("fs", "fs_native") for direct in (False, True) for pair in pairs]
    all_checks = [
        *((f"bridge, round trip, {name}", round_trip, name) for name in ROUND_TRIPS),
        *((f"bridge, exchange, {kind}, {first} to {second}, O_DIRECT {direct}", exchange, (kind, direct, first, second))
          for kind, direct, first, second in exchanges),
        *((f"bridge, aesgcm, {bits} bits, both directions", serde, bits) for bits in (128, 256)),
        ("bridge, fault_inject", injected_gaps, None),
        *((f"bridge, refusal, {name}", refusal, argument) for name, argument in REFUSALS.items()),
        ("bridge, messages of specs", messages_agree, None),
    ]
    checks.run_all(all_checks, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
