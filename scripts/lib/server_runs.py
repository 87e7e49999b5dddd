"""Runs of `server`: ours and LMCache's own, with the figures that both give. Standard library only."""

import json
import pathlib
import statistics

from lib import lmcache, native
from lib.peers import lmcache_environment

TRANSFERS = {"store": "cold_store", "retrieve": "warm_retrieve"}


def ours(server: lmcache.CacheServer, sequences: int, *flags: object, limit_s: float | None = None) -> dict:
    """Medians over the sequences of one run, which must pass."""
    peak = []
    run = native.bench(
        "server", *server.urls, "--start", 0, "--end", sequences, *flags, limit_s=limit_s, watch=lambda pid: peak.append(native.Peak(pid))
    )
    metrics = run.expect(0).metrics
    if metrics["results"]["pass_rate"] != 100:
        raise RuntimeError(f"our run did not pass: {run.stdout}")
    detail = metrics["detail"]
    figures = {
        "wall_s": run.wall_s,
        "peak": peak[0].kib * 1024,
        "first_rpc_ms": metrics["run"]["start_to_first_rpc_ms"],
        "first_store_s": metrics["run"]["start_to_first_store_ms"] / 1e3,
    }
    # Inside an operation our process works or is blocked by the server. Where it makes pages on two cores, its CPU time is more
    # than the time that passes, and the difference counts against it here.
    blocked = 0.0
    for lookup in ("cold_lookup", "warm_lookup"):
        figures[f"{lookup}_ms"] = metrics[lookup][f"{lookup}_p50"]
        blocked += metrics[lookup][f"{lookup}_mean"]
    for name, key in TRANSFERS.items():
        figures[f"{name}_ms"] = metrics[key][f"{key}_p50"]
        figures[f"{name}_client_ms"] = detail[key]["copy_p50_ms"] or 0.0
        figures[f"{name}_cpu_ms"] = detail[key]["cpu_p50_ms"]
        figures[f"{name}_gpu_ms"] = metrics.get("gpu", {}).get(key, {}).get("p50_ms")
        blocked += metrics[key][f"{key}_mean"] - detail[key]["cpu_p50_ms"]
    figures["own_s"] = run.wall_s - blocked * sequences / 1e3
    return figures


def reference(server: lmcache.CacheServer, folder: pathlib.Path, sequences: int, *flags: object, limit_s: float | None = None) -> dict:
    """The same of LMCache's client."""
    server.clear()
    out = folder / "reference.json"
    out.unlink(missing_ok=True)
    command = [lmcache_environment() / "bin/python", "-m", "lib.reference_server", out, "server", "-q", *server.urls]
    run = native.run([*command, "--start", 0, "--end", sequences, *flags], env=lmcache.with_library(), limit_s=limit_s)
    run.expect(0)
    record = json.loads(out.read_text())
    figures = {"wall_s": run.wall_s, "first_rpc_ms": record["start_to_first_lookup_s"] * 1e3}
    figures["first_store_s"] = record["start_to_first_store_done_s"]
    operations = {name: [one for one in record["operations"] if one["operation"] == name] for name in ("lookup", *TRANSFERS)}
    for name in TRANSFERS:
        mine = operations[name]
        if len(mine) != sequences:
            raise RuntimeError(f"the reference did {len(mine)} of {sequences} {name}s\n{run.stdout}{run.stderr}")
        figures[f"{name}_ms"] = statistics.median(one["latency_ms"] for one in mine)
        figures[f"{name}_client_ms"] = statistics.median(one["latency_ms"] - one["wait_ms"] for one in mine)
        figures[f"{name}_cpu_ms"] = statistics.median(one["cpu_ms"] for one in mine)
    # A sequence looks up before its store and after it.
    for at, name in enumerate(("cold_lookup", "warm_lookup")):
        figures[f"{name}_ms"] = statistics.median(one["latency_ms"] for one in operations["lookup"][at::2])
    figures["own_s"] = run.wall_s - sum(one["wait_ms"] for one in record["operations"] if one["operation"] != "lookup") / 1e3
    return figures


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(one[key] for one in rounds)
