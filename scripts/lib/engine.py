"""The engine benchmark against the mock engine: flat out, and request by request against the mock's own log. Standard library
only."""

import collections
import contextlib
import json
import os
import pathlib
import statistics
import tempfile
import time

from lib import native

# Streams, and requests and tokens per answer that make about 200,000 events.
FLAT_OUT = {1: (40, 4000), 3: (48, 4000), 8: (96, 2000), 32: (320, 600), 64: (384, 500), 100: (800, 250), 256: (1024, 200),
            400: (1200, 160), 1000: (2000, 100)}  # fmt: skip
DOCUMENT_TOKENS = 40
STREAMS = (3, 8, 32, 64, 100, 256, 400, 1000)
PEER_STREAMS = (8, 64, 256, 1000)
LIMIT_S = 170
LOG_S = 4


def flat_out(streams: int, program: str | None = None, mock: str | None = None) -> dict:
    """Token events per second, and CPU per event in us: by the report, and of the whole process."""
    requests, tokens = FLAT_OUT[streams]
    with native.mock("engine", "--flat-out", "--ttft-ms", 1, program=mock) as (url,):
        flags = native.long_doc_qa(url, streams, requests, tokens, DOCUMENT_TOKENS)
        run = native.bench("engine", *flags, program=program).expect(0)
    rate = requests * tokens / run.metrics["results"]["duration"]
    return {"rate": rate, "cpu": run.metrics["client"]["cpu_us_per_event"], "process_cpu": run.cpu_s * 1e6 / (requests * tokens)}


# Without a `rate` so many streams are kept busy; with one requests arrive as a Poisson process of so many a second.
Cell = collections.namedtuple("Cell", "name ttft_ms itl_ms streams requests tokens document_tokens pinned clients rate",
                              defaults=[None])  # fmt: skip


def cells():
    """Answers are short where the schedule is slow, so that a round takes seconds."""
    both, short = ("ours", "floor"), DOCUMENT_TOKENS
    for streams in STREAMS:
        clients = ("ours", "floor", "vllm", "aiperf") if streams in PEER_STREAMS else both
        yield Cell(f"20/5:{streams}", 20, 5, streams, max(2 * streams, 64), 64, short, False, clients)
    for streams in STREAMS:
        yield Cell(f"50/20:{streams}", 50, 20, streams, max(2 * streams, 32), 32, short, False, both)
    for requests in (50, 500):
        # 10,000 filler tokens are bodies of 30 KB.
        yield Cell(f"burst:{requests}", 20, 5, requests, requests, 1, 10_000, False, both)
    yield Cell("decode:4000", 20, 1, 1, 1, 4000, short, False, both)
    for streams in PEER_STREAMS:
        yield Cell(f"pinned:{streams}", 20, 5, streams, max(2 * streams, 64), 64, short, True, both)


def on_cpu(cell, cpus):
    return ["taskset", "-c", cpus] if cell.pinned else []


@contextlib.contextmanager
def logged_mock(cell: Cell, directory: str, program: str | None = None):
    """A mock with a log of its requests: its URL, and a function that returns the log's lines."""
    log = pathlib.Path(directory, "mock.jsonl")
    flags = ["--ttft-ms", cell.ttft_ms, "--itl-ms", cell.itl_ms, "--log", log]
    with native.mock("engine", *flags, program=program, prefix=on_cpu(cell, "0")) as (url,):
        yield url, lambda: read_log(log, cell)


def read_log(log: pathlib.Path, cell: Cell) -> list[dict]:
    """The streamed answers. The mock writes its log when nothing is due."""
    deadline = time.monotonic() + LOG_S
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        streamed = [line for line in lines if line["stream"] and line["events"] == cell.tokens]
        if len(streamed) >= cell.requests or time.monotonic() > deadline:
            return streamed
        time.sleep(0.02)


def requests_of(url: str, directory: str, cell: Cell, *more: object, program: str | None = None) -> list[dict]:
    """What our client wrote about each request of a run."""
    lines = pathlib.Path(directory, "requests.jsonl")
    flags = native.long_doc_qa(url, cell.streams, cell.requests, cell.tokens, cell.document_tokens)
    if cell.rate:
        flags += ["--request-rate", cell.rate, "--arrival", "poisson", "--num-requests", cell.requests]
    prefix = on_cpu(cell, f"1-{os.cpu_count() - 1}")
    command = ["engine", *flags, "--requests-jsonl", lines, *more]
    native.bench(*command, program=program, prefix=prefix, limit_s=LIMIT_S).expect(0)
    return [json.loads(line) for line in lines.read_text().splitlines()]


def run_ours(url: str, directory: str, cell: Cell, program: str | None = None) -> tuple[dict, str]:
    """{request: (TTFT in ms, tokens per s or None, more)} and the key of the mock's log that names a request."""
    got = {}
    for r in requests_of(url, directory, cell, program=program):
        speed = 1000 / r["tpot_ms"] if r["tpot_ms"] else None
        more = {"first_write_ms": r["first_write_ms"], "lateness_ms": -r["scheduled_ms"]}
        got[r["response_id"]] = (r["first_token_ms"], speed, more)
    return got, "id"


def true_ttft_ms(line: dict) -> float:
    """From the kernel's arrival of the request to the write of its first token."""
    return (line["first_token_ns"] - line["arrival_ns"]) / 1e6


def ttft_error_ms(cell: Cell, program: str, mock: str) -> float:
    """Mean distance of our TTFT from the mock's log."""
    with tempfile.TemporaryDirectory(prefix="lmcache-bench-truth-") as directory:
        with logged_mock(cell, directory, mock) as (url, log):
            got, key = run_ours(url, directory, cell, program)
            return statistics.mean(abs(got[line[key]][0] - true_ttft_ms(line)) for line in log() if line[key] in got)
