"""Runs our own binary and reads its report. Standard library only; knows nothing of LMCache."""

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
MIB, GIB = 1 << 20, 1 << 30


def binary() -> str:
    """LMCACHE_BENCH_BIN, else the release build of this checkout."""
    return os.environ.get("LMCACHE_BENCH_BIN") or str(REPOSITORY / "target/release/lmcache-bench")


def raw_reader() -> str:
    """examples/raw_reader.rs: LMCACHE_BENCH_RAW_READER, else the release build (`cargo build --release --examples`)."""
    return os.environ.get("LMCACHE_BENCH_RAW_READER") or str(REPOSITORY / "target/release/examples/raw_reader")


def example(name: str, *arguments: object) -> str:
    """The output of a program of examples/, which is built first."""
    command = ["cargo", "run", "--release", "--locked", "--quiet", "--example", name, "--", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY).stdout


@dataclasses.dataclass
class Run:
    """A finished process: its output, its cost (user and system time together) and, of our own binary, its report."""

    command: list[str]
    code: int
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    pid: int

    @property
    def metrics(self) -> dict:
        """The JSON report on standard output; empty when there is none."""
        try:
            return json.loads(self.stdout)["metrics"]
        except ValueError:
            return {}

    def expect(self, code: int) -> "Run":
        if self.code != code:
            raise AssertionError(
                f"exit code {self.code} instead of {code} from {' '.join(self.command)}\n{self.stdout}{self.stderr}"
            )
        return self


def run(command: list, watch=None, limit_s: float | None = None, **options) -> Run:
    """Runs a program to its end. `watch` is called with its process ID once it runs; after `limit_s` it is killed."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options)
        timer = threading.Timer(limit_s or 0, os.kill, (process.pid, signal.SIGKILL))
        if limit_s:
            timer.start()
        try:
            if watch:
                watch(process.pid)
        finally:
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
        wall_s = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Run(command, process.returncode, *texts, wall_s, usage.ru_utime + usage.ru_stime, process.pid)


def bench(command: str, *flags: object, program: str | None = None, prefix: tuple = (), **options) -> Run:
    """A quiet run of a subcommand with a JSON report on standard output. `prefix` goes before the program."""
    return run([*prefix, program or binary(), command, *flags, "-q", "--format", "json"], **options)


def l2(spec: dict, *flags: object, limit_s: float | None = 600, **options) -> Run:
    """A run that hangs is killed, so that it fails its check and not the whole job."""
    return bench("l2", "--l2-adapter", json.dumps(spec), *flags, limit_s=limit_s, **options)


def long_doc_qa(url: str, streams: int, requests: int, answer_tokens: int, document_tokens: int) -> list:
    """Flags of an engine run: so many requests, one for each document, so many of them in flight."""
    return [
        *("--engine-url", url, "--model", "mock-model", "--workload", "long-doc-qa", "--no-warmup", "--no-certificate"),
        *("--tokens-per-gb-kvcache", document_tokens, "--kv-cache-volume", requests, "--ldqa-query-per-document", 1),
        *("--ldqa-document-length", document_tokens, "--ldqa-max-output-length", answer_tokens),
        *("--ldqa-num-inflight-requests", streams, "--no-csv"),
    ]


@contextlib.contextmanager
def mock(kind: str, *flags: object, program: str | None = None, prefix: tuple = ()):
    """A mock server on loopback; the URLs that it printed when it was ready (engine: one; server: RPC and HTTP)."""
    ports = ["--port", 0, "--http-port", 0] if kind == "server" else []
    command = [str(word) for word in (*prefix, program or binary(), "mock", kind, *ports, *flags)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
        yield line.split()[2:]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Peak(threading.Thread):
    """The most private memory that a process had, seen every few milliseconds."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.status, self.kib = f"/proc/{pid}/status", 0
        self.start()

    def run(self) -> None:
        try:
            while True:
                for line in open(self.status):
                    if line.startswith("RssAnon:"):
                        self.kib = max(self.kib, int(line.split()[1]))
                time.sleep(0.002)
        except OSError:
            pass


PR_SET_CHILD_SUBREAPER = 36


def peak_memory_mib(command: list) -> float:
    """Peak resident memory of a program. The kernel counts the memory of whatever called exec into the peak of the new program: that
    is a shell here, with 2 MiB, and this process adopts what the shell leaves behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    launch = ["sh", "-c", 'exec 3>&1 >/dev/null; "$@" 3>&- & echo $! >&3', "sh", *map(str, command)]
    child = int(subprocess.run(launch, check=True, stdout=subprocess.PIPE, text=True).stdout)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024
