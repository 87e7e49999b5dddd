#!/usr/bin/env python3
"""What the engine benchmark itself costs: events per second flat out, CPU per event, memory at 1000 streams, start-up.

Usage: engine-floor.py [--rounds N] [--out FILE]. Medians of rounds; mock and client share this machine's cores.
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


def mock(*flags):
    process = subprocess.Popen([BINARY, "mock", "engine", *flags], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()[-1]


def command(url, streams, requests, tokens, document_tokens, *more):
    return [BINARY, "engine", "--engine-url", url, "--model", "mock-model", "--workload", "long-doc-qa", "--no-warmup",
            "--no-certificate", "--tokens-per-gb-kvcache", str(document_tokens), "--kv-cache-volume", str(requests),
            "--ldqa-document-length", str(document_tokens), "--ldqa-query-per-document", "1",
            "--ldqa-max-output-length", str(tokens), "--ldqa-num-inflight-requests", str(streams), "--no-csv", "-q",
            "--format", "json", *more]


def flat_out(streams, requests, tokens):
    process, url = mock("--flat-out", "--ttft-ms", "1")
    try:
        out = subprocess.run(command(url, streams, requests, tokens, 40), check=True, capture_output=True).stdout
    finally:
        process.terminate()
        process.wait()
    metrics = json.loads(out)["metrics"]
    return {
        "events_per_s": requests * tokens / metrics["results"]["duration"],
        "cpu_us_per_event": metrics["client"]["cpu_us_per_event"],
    }


def peak_memory_mib(streams, document_tokens, requests=None):
    """Peak resident memory with all streams open, from a child of its own."""
    process, url = mock("--ttft-ms", "200", "--itl-ms", "20")
    code = ("import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    run = command(url, streams, requests or streams, 20, document_tokens)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="also write the table to this file")
    args = parser.parse_args()
    cells = {1: (20, 4000), 8: (64, 2000), 32: (320, 500), 100: (800, 250), 256: (1024, 200)}
    figures = {}

    def add(name, value, unit, bar, good):
        figures.setdefault(name, ([], unit, bar, good))[0].append(value)

    for _ in range(args.rounds):
        for streams, (requests, tokens) in cells.items():
            result = flat_out(streams, requests, tokens)
            rate_bar = ">= 150,000" if streams >= 8 else ""
            cpu_bar = "<= 4"
            add(f"flat out, {streams} streams", result["events_per_s"], "token events/s", rate_bar, lambda v: v >= 150_000)
            add(f"CPU per event, {streams} streams", result["cpu_us_per_event"], "us", cpu_bar, lambda v: v <= 4)
        add("start to first request", start_to_first_request_ms(), "ms", "< 50", lambda v: v < 50)
    for _ in range(min(args.rounds, 3)):
        add("peak memory, 1000 streams, prompts of 40 tokens", peak_memory_mib(1000, 40), "MiB", "< 64", lambda v: v < 64)
        add("peak memory, 1000 streams, prompts of 10,000 tokens", peak_memory_mib(1000, 10_000), "MiB", "", None)
    add("peak memory, 64 streams, 2,000 documents of 10,000 tokens", peak_memory_mib(64, 10_000, 2_000), "MiB", "< 64",
        lambda v: v < 64)
    lines = ["# What the engine benchmark itself costs", "",
             f"Made by `scripts/engine-floor.py`; medians of rounds. Mock and client share {os.cpu_count()} cores, Linux "
             f"{platform.release()}. CPU is the client's, user and kernel.", "",
             "| figure | median | min | max | unit | bar | met |", "|---|---|---|---|---|---|---|"]
    for name, (values, unit, bar, good) in figures.items():
        median = statistics.median(values)
        met = "" if not bar else ("yes" if good(median) else "no")
        text = [f"{v:,.0f}" if v >= 1000 else f"{v:.3g}" for v in (median, min(values), max(values))]
        lines.append(f"| {name} | {' | '.join(text)} | {unit} | {bar} | {met} |")
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(table)


if __name__ == "__main__":
    main()
