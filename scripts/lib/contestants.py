"""LMCache's adapters and ours under the same rounds, with throughput and CPU cost: shared by the side-by-side scripts. Standard
library only; LMCache runs in a process of its own."""

import dataclasses
import json
import pathlib
import statistics
import subprocess
import tempfile

from lib import lmcache, native
from lib.native import GIB, MIB
from lib.peers import lmcache_environment
from lib.servers import Server
from lib.slices import spread

ROUNDS, WARMUP = 8, 1
OPERATIONS = ("Store", "Load")


@dataclasses.dataclass
class Load:
    """The same rounds for every contestant; sizes in bytes."""

    num_keys: int
    in_flight: int
    data_size: int

    @property
    def keys(self) -> int:
        return self.num_keys * self.in_flight

    @property
    def round_mib(self) -> float:
        return self.keys * self.data_size / MIB

    @property
    def flags(self) -> list:
        shape = ["--num-keys", self.num_keys, "--in-flight", self.in_flight, "--data-size-kb", self.data_size // 1024]
        return [*shape, "--rounds", ROUNDS, "--warmup-rounds", WARMUP, "--l1-align-bytes", 4096]


@dataclasses.dataclass
class Slice:
    """One operation of one contestant."""

    mib_s: float
    client_s_per_gib: float | None
    server_s_per_gib: float
    path: str = ""

    @property
    def server_share(self) -> float:
        """Of one core, while the operation ran."""
        return self.server_s_per_gib * self.mib_s / 1024


class ReferenceProcess:
    """The process of LMCache that stays for all slices (lib/reference_slices.py)."""

    def __init__(self) -> None:
        self.log = tempfile.TemporaryFile("w+")
        command = [str(lmcache_environment() / "bin/python"), "-m", "lib.reference_slices"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=lmcache.with_library()
        )

    def ask(self, **command) -> dict:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"LMCache's process ended with {self.process.wait()}:\n{self.log.read()[-4000:]}")
        return json.loads(line)

    def run(self, operation: str, first_round: int, rounds: int, keys: int) -> dict:
        """Rounds of so many keys, all of which must succeed."""
        answer = self.ask(operation=operation, first_round=first_round, rounds=rounds)
        if answer["keys_ok"] != rounds * keys or len(answer["durations_s"]) != rounds:
            raise RuntimeError(f"LMCache's {operation} did {answer['keys_ok']} of {rounds * keys} keys")
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Lmcache:
    """LMCache's own runner on LMCache's own adapter, as `lmcache bench l2` has them."""

    def __init__(self, spec: dict, load: Load, server: Server, model: str | None = None):
        self.load, self.server, self.process = load, server, ReferenceProcess()
        self.process.ask(open={"spec": spec, **dataclasses.asdict(load), "align": 4096, "model": model})

    def slice(self) -> dict[str, Slice]:
        """A store and a load of the same keys, each after a warm-up round."""
        slices = {}
        for operation in OPERATIONS:
            self.process.run(operation, 0, WARMUP, self.load.keys)
            before = self.server.cpu_s()
            answer = self.process.run(operation, WARMUP, ROUNDS, self.load.keys)
            server_s = self.server.cpu_s() - before
            gib = self.load.round_mib * ROUNDS * MIB / GIB
            slices[operation] = Slice(gib * 1024 / sum(answer["durations_s"]), answer["cpu_s"] / gib, server_s / gib)
        return slices

    def close(self) -> None:
        self.process.close()


def ours(spec: dict, load: Load, server: Server, *flags: object) -> dict[str, Slice]:
    """The same rounds by our binary, a fresh process for each operation. The server's CPU time includes the warm-up."""
    slices = {}
    for operation in OPERATIONS:
        before = server.cpu_s()
        metrics = native.l2(spec, *load.flags, *flags, "--only", operation.lower()).expect(0).metrics
        server_s = server.cpu_s() - before
        seconds, detail = metrics["op_0"]["duration_avg_ms"] / 1e3, metrics["detail_0"]
        gib = load.round_mib * (ROUNDS + WARMUP) * MIB / GIB
        slices[operation] = Slice(load.round_mib / seconds, detail["cpu_s_per_gib"], server_s / gib, detail["io_path"])
    return slices


def bridged(spec: dict, load: Load) -> dict[str, Slice]:
    """LMCache's adapter in our harness: `--via lmcache`. One process for both operations, because it starts slowly."""
    python = lmcache_environment() / "bin/python"
    metrics = native.l2(spec, *load.flags, "--via", "lmcache", "--python", python).expect(0).metrics
    sections = [metrics[name] for name in ("op_0", "op_1", "op_2")]
    seconds = {section["operation"]: section["duration_avg_ms"] / 1e3 for section in sections}
    return {operation: Slice(load.round_mib / seconds[operation], None, 0.0) for operation in OPERATIONS}


def speed(slices: list[Slice]) -> str:
    return spread([one.mib_s for one in slices])


def ratio(mine: list[Slice], others: list[Slice]) -> tuple[float, str]:
    """Median of the slices' own ratios, so that a machine whose speed drifts favours neither."""
    # Rare contestants run in the first slices.
    ratios = [own.mib_s / other.mib_s for own, other in zip(mine, others)]
    return statistics.median(ratios), spread(ratios, ".2f")


def cost(slices: list[Slice]) -> list[str]:
    """Cells: client and server CPU seconds per GiB, and the server's share of a core."""
    client = [one.client_s_per_gib for one in slices]
    server = statistics.median(one.server_s_per_gib for one in slices)
    share = statistics.median(one.server_share for one in slices)
    return ["" if None in client else f"{statistics.median(client):.2f}", f"{server:.2f}", f"{share:.2f}"]
