#!/usr/bin/env python3
"""What the engine benchmark itself costs: events per second flat out, CPU per event, memory at 1000 streams, start-up.

Usage: engine-floor.py [--parts flat,start,memory] [--rounds N] [--state FILE] [--stop-after-s N] [--out FILE]

Medians of rounds; mock and client share this machine's cores. Beside ours runs scripts/raw_reader.rs: plain blocking sockets
without HTTP, JSON or kernel stamps, so what threads and sockets cost alone. --state keeps results: what is there already is
not run again, and --stop-after-s starts nothing after that many seconds, so the whole can be made in pieces.
"""
import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("LMCACHE_BENCH_BIN", os.path.join(ROOT, "target/release/lmcache-bench"))
RAW_READER = os.environ.get("LMCACHE_BENCH_RAW_READER", os.path.join(ROOT, "target/release/examples/raw_reader"))
# Streams, and requests and tokens per answer that make about 200,000 events.
FLAT_OUT = {1: (40, 4000), 3: (48, 4000), 8: (96, 2000), 32: (320, 600), 64: (384, 500), 100: (800, 250), 256: (1024, 200),
            400: (1200, 160), 1000: (2000, 100)}


def mock(*flags):
    process = subprocess.Popen([BINARY, "mock", "engine", *flags], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()[-1]


def command(url, streams, requests, tokens, document_tokens, *more):
    return [BINARY, "engine", "--engine-url", url, "--model", "mock-model", "--workload", "long-doc-qa", "--no-warmup",
            "--no-certificate", "--tokens-per-gb-kvcache", str(document_tokens), "--kv-cache-volume", str(requests),
            "--ldqa-document-length", str(document_tokens), "--ldqa-query-per-document", "1",
            "--ldqa-max-output-length", str(tokens), "--ldqa-num-inflight-requests", str(streams), "--no-csv", "-q",
            "--format", "json", *more]


def report(run):
    return json.loads(subprocess.run(run, check=True, capture_output=True).stdout)["metrics"]


def flat_out(streams):
    requests, tokens = FLAT_OUT[streams]
    process, url = mock("--flat-out", "--ttft-ms", "1")
    try:
        metrics = report(command(url, streams, requests, tokens, 40))
    finally:
        process.terminate()
        process.wait()
    return {"rate": requests * tokens / metrics["results"]["duration"], "cpu": metrics["client"]["cpu_us_per_event"]}


def flat_out_raw(streams):
    """The whole process's CPU, its start included."""
    requests, tokens = FLAT_OUT[streams]
    process, url = mock("--flat-out", "--ttft-ms", "1")
    try:
        arguments = [url.removeprefix("http://"), streams, requests, tokens, 200]
        reader = subprocess.Popen([RAW_READER, *map(str, arguments)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(reader.pid, 0)
        reader.returncode = os.waitstatus_to_exitcode(status)
    finally:
        process.terminate()
        process.wait()
    if reader.returncode != 0:
        raise RuntimeError(f"raw_reader ended with {reader.returncode}")
    return {"cpu": (usage.ru_utime + usage.ru_stime) * 1e6 / (requests * tokens)}


def peak_memory_mib(streams, document_tokens, requests=None, tokens=20, ttft_ms=200, itl_ms=20):
    """Peak resident memory with all streams open, from a child of its own."""
    process, url = mock("--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms))
    code = ("import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    run = command(url, streams, requests or streams, tokens, document_tokens)
    try:
        out = subprocess.run([sys.executable, "-c", code, *run], check=True, capture_output=True)
    finally:
        process.terminate()
        process.wait()
    return int(out.stdout) / 1024


def start_to_first_request_ms():
    """From starting the process to the first request's bytes at a plain listener, which has no counters to tell."""
    listener = socket.create_server(("127.0.0.1", 0))
    arrived = []

    def serve(connection):
        with connection:
            head = connection.recv(4096)
            while head.startswith(b"GET "):
                connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                head = connection.recv(4096)
            if head:
                arrived.append(time.perf_counter())

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    begin = time.perf_counter()
    subprocess.run(command(url, 1, 1, 1, 1000), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return (arrived[0] - begin) * 1000


def runs(parts):
    """What is run in a round: a name, and what returns its figures."""
    if "flat" in parts:
        for streams in FLAT_OUT:
            yield f"flat out, {streams}", lambda streams=streams: flat_out(streams)
            yield f"raw, {streams}", lambda streams=streams: flat_out_raw(streams)
    if "start" in parts:
        yield "start", lambda: {"ms": start_to_first_request_ms()}
    if "memory" in parts:
        yield "memory, 40", lambda: {"mib": peak_memory_mib(1000, 40)}
        yield "memory, 10000", lambda: {"mib": peak_memory_mib(1000, 10_000)}
        yield "memory, documents", lambda: {"mib": peak_memory_mib(64, 10_000, 10_000, 4, 20, 1)}


def rows():
    """The table: text, run, figure, unit, bar, whether a median meets it."""
    for streams in FLAT_OUT:
        name = f"flat out, {streams}"
        yield f"flat out, {streams} streams", name, "rate", "token events/s", ">= 150,000", lambda v: v >= 150_000
        yield f"CPU per event, {streams} streams", name, "cpu", "us", "<= 4", lambda v: v <= 4
        yield f"the same, raw sockets, {streams} streams", f"raw, {streams}", "cpu", "us", "", None
    yield "start to first request", "start", "ms", "ms", "< 50", lambda v: v < 50
    fits = ("MiB", "< 64", lambda v: v < 64)
    yield "peak memory, 1000 streams, prompts of 40 tokens", "memory, 40", "mib", *fits
    yield "peak memory, 1000 streams, prompts of 10,000 tokens", "memory, 10000", "mib", *fits
    yield "peak memory, 64 streams, 10,000 documents of 10,000 tokens", "memory, documents", "mib", *fits


def table(results):
    lines = ["# What the engine benchmark itself costs", "",
             f"Made by `scripts/engine-floor.py`; medians of rounds. Mock and client share {os.cpu_count()} cores, Linux "
             f"{platform.release()}. CPU is the client's, user and kernel. Flat out, the mock writes one event per system call "
             "and never waits. `raw sockets` is scripts/raw_reader.rs, which has threads and blocking sockets only: no HTTP, "
             "no JSON, no kernel stamps.", "",
             "| figure | rounds | median | min | max | unit | bar | met |", "|---|---|---|---|---|---|---|---|"]
    for text, run, figure, unit, bar, good in rows():
        values = [result[figure] for result in results.get(run, [])]
        if not values:
            continue
        median = statistics.median(values)
        met = "" if not bar else ("yes" if good(median) else "no")
        numbers = [f"{v:,.0f}" if v >= 1000 else f"{v:.3g}" for v in (median, min(values), max(values))]
        lines.append(f"| {text} | {len(values)} | {' | '.join(numbers)} | {unit} | {bar} | {met} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="flat,start,memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--state", help="JSON file that gathers results of several calls")
    parser.add_argument("--stop-after-s", type=float, default=float("inf"))
    parser.add_argument("--out", help="also write the table to this file")
    args = parser.parse_args()
    begin = time.monotonic()
    results = {}
    if args.state and os.path.exists(args.state):
        with open(args.state, encoding="utf-8") as file:
            results = json.load(file)
    left = 0
    for round_number in range(args.rounds):
        for name, run in runs(args.parts.split(",")):
            if len(results.get(name, [])) > round_number:
                continue
            if time.monotonic() - begin > args.stop_after_s:
                left += 1
                continue
            results.setdefault(name, []).append(run())
            if args.state:
                with open(args.state, "w", encoding="utf-8") as file:
                    json.dump(results, file)
    if left:
        print(f"{left} runs left: call again with the same --state", file=sys.stderr)
        return
    text = table(results)
    print(text, end="")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
