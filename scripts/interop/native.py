"""Runs our own binary and reads its report. Standard library only; knows nothing of LMCache."""

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def binary() -> str:
    return os.environ.get("LMCACHE_BENCH_BIN") or str(REPOSITORY / "target" / "release" / "lmcache-bench")


@dataclasses.dataclass
class Run:
    """One finished process: what it said, what it reported, what it cost."""

    command: list[str]
    code: int
    stdout: str
    stderr: str
    metrics: dict
    wall_s: float
    cpu_s: float

    def expect(self, code: int) -> "Run":
        if self.code != code:
            raise AssertionError(
                f"exit code {self.code} instead of {code} from {' '.join(self.command)}\n{self.stdout}{self.stderr}"
            )
        return self


def l2(spec: dict, *flags: object, watch=lambda process: None) -> Run:
    """`lmcache-bench l2` with a quiet JSON report. `watch` is given the process while it runs."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch, "report.json")
        command = [binary(), "l2", "--l2-adapter", json.dumps(spec), "--format", "json", "-q"]
        command += ["--output", str(report), *(str(flag) for flag in flags)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            watch(process)
            stdout, stderr = process.communicate()
        wall_s = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        metrics = json.loads(report.read_text())["metrics"] if report.exists() else {}
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(command, process.returncode, stdout, stderr, metrics, wall_s, cpu_s)
