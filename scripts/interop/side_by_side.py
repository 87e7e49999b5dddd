"""What the side-by-side scripts for services share: both contestants' slices, medians, the table. Standard library only."""

import json
import os
import pathlib
import platform
import statistics
import subprocess

import native
import servers

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
ROUNDS, WARMUP = 4, 1


class Lmcache:
    """LMCache's adapter in a process that lives for all slices."""

    def __init__(self, spec: dict, num_keys: int, in_flight: int, data_size: int, model: str | None = None):
        python = pathlib.Path(servers.peers("lmcache"), "bin", "python")
        words = [str(python), str(HERE / "service_slices.py"), json.dumps(spec), num_keys, in_flight, data_size]
        words += [model] if model else []
        environment = {**os.environ, "LMCACHE_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
        self.round_mib = num_keys * in_flight * data_size / MIB
        self.keys = num_keys * in_flight
        self.process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"LMCache's adapter ended with {self.process.wait()}")
        return json.loads(line)

    def _run(self, operation: str, first_round: int, rounds: int) -> dict:
        command = {"operation": operation, "first_round": first_round, "rounds": rounds}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if answer["keys_ok"] != rounds * self.keys:
            raise AssertionError(f"LMCache's {operation} did {answer['keys_ok']} of {rounds * self.keys} keys")
        return answer

    def slice(self) -> dict[str, float]:
        """MiB/s of a store and a load of the same keys, each after a warm-up round."""
        speeds = {}
        for operation in ("Store", "Load"):
            self._run(operation, 0, WARMUP)
            durations = self._run(operation, WARMUP, ROUNDS)["durations_s"]
            speeds[operation] = self.round_mib * ROUNDS / sum(durations)
        return speeds

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


def ours(spec: dict, num_keys: int, in_flight: int, data_size: int, *flags: object) -> dict[str, float]:
    """MiB/s of the same rounds by our binary."""
    flags = ["--num-keys", num_keys, "--in-flight", in_flight, "--data-size-kb", data_size // 1024, *flags]
    flags += ["--rounds", ROUNDS, "--warmup-rounds", WARMUP, "--l1-align-bytes", 4096]
    speeds = {}
    for operation in ("Store", "Load"):
        run = native.l2(spec, *flags, "--only", operation.lower()).expect(0)
        section = run.metrics["op_0"]
        seconds = section["duration_avg_ms"] / 1e3
        speeds[operation] = num_keys * in_flight * data_size / MIB / seconds
        speeds["path"] = run.metrics["detail_0"]["io_path"]
    return speeds


def median(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def ratio(ours_: list[float], others: list[float]) -> tuple[float, str]:
    """Median of the slices' own ratios, so that a machine that drifts favours nobody."""
    ratios = sorted(mine / other for mine, other in zip(ours_, others, strict=True))
    middle = statistics.median(ratios)
    return middle, f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def machine() -> str:
    return f"{os.cpu_count()} cores, Linux {platform.release()}"


def write(out: pathlib.Path | None, text: str) -> None:
    print(text)
    if out:
        out.write_text(text)
