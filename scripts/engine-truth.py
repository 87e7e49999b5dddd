#!/usr/bin/env python3
"""How far clients are from the truth of a streaming engine: TTFT and decode speed against the mock's own log.

Usage: engine-truth.py [--cells 20/5,burst,...] [--clients ours,floor,vllm,aiperf] [--rounds N] [--state FILE]
                       [--stop-after-s N] [--table] [--out FILE]

The truth of a request is the mock's: kernel arrival of the request to the write of its first token, and the span of its
token writes. Clients run one after another, in turned order every other round (A B C C B A), each against a fresh mock on
this machine. Requests are matched one by one: ours by the answer's id, the others by their x-request-id. `floor` is
scripts/raw_reader.rs, plain sockets without JSON and without kernel stamps: where it is off by more than 1 ms at p50 the
machine or the mock is the bottleneck and the cell says nothing about a client. Peers (scripts/peers.sh vllm, aiperf) run in
the cells that PEER_STREAMS names, where they are installed.

A cell is TTFT/ITL:STREAMS, burst:REQUESTS, decode:EVENTS or pinned:STREAMS; a name before the colon means all of its cells.
--state keeps results: what is there already is not run again, so a long comparison can be made in pieces (--stop-after-s
starts nothing after that many seconds). --table only prints what the state holds.
"""
import argparse
import collections
import glob
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("LMCACHE_BENCH_BIN", os.path.join(ROOT, "target/release/lmcache-bench"))
FLOOR = os.environ.get("LMCACHE_BENCH_RAW_READER", os.path.join(ROOT, "target/release/examples/raw_reader"))
PEERS = os.environ.get("LMCACHE_BENCH_PEERS") or os.path.expanduser("~/.cache/lmcache-bench/peers")
TOKENIZER = os.path.join(ROOT, "tests/golden/engine/tiny-tokenizer")
STREAMS = (3, 8, 32, 64, 100, 256, 400, 1000)
PEER_STREAMS = (8, 64, 256, 1000)
# The bars on our own TTFT error, mean and p99 in ms, at 20/5 ms.
BARS = {8: (0.5, 2), 64: (0.5, 2), 256: (0.5, 2), 1000: (2, None)}
SPEED_BAR_PERCENT = 1
FLOOR_LIMIT_MS = 1
LIMIT_S = 170

Cell = collections.namedtuple("Cell", "name ttft_ms itl_ms streams requests tokens document_tokens pinned clients")


def cells():
    """Answers are short where the schedule is slow, so that a round takes seconds."""
    both, short = ("ours", "floor"), 40
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


def mock(cell, directory):
    log = os.path.join(directory, "mock.jsonl")
    command = [BINARY, "mock", "engine", "--ttft-ms", str(cell.ttft_ms), "--itl-ms", str(cell.itl_ms), "--log", log]
    process = subprocess.Popen(on_cpu(cell, "0") + command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()[-1], log


def read_truth(log, cell):
    """The mock writes its log when nothing is due."""
    for _ in range(200):
        with open(log, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        streamed = [line for line in lines if line["stream"] and line["events"] == cell.tokens]
        if len(streamed) >= cell.requests:
            return streamed
        time.sleep(0.02)
    return streamed


def percentile(values, p):
    values = sorted(values)
    at = (len(values) - 1) * p / 100
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


# Each client returns {request: (TTFT in ms, tokens per s or None, more)} and the key of the mock's log that names a request.

def run_ours(url, directory, cell):
    lines = os.path.join(directory, "requests.jsonl")
    tokens = str(cell.document_tokens)
    subprocess.run(
        on_cpu(cell, f"1-{os.cpu_count() - 1}") +
        [BINARY, "engine", "--engine-url", url, "--model", "mock-model", "--workload", "long-doc-qa", "--no-warmup",
         "--no-certificate", "--tokens-per-gb-kvcache", tokens, "--kv-cache-volume", str(cell.requests),
         "--ldqa-document-length", tokens, "--ldqa-query-per-document", "1", "--ldqa-max-output-length", str(cell.tokens),
         "--ldqa-num-inflight-requests", str(cell.streams), "--no-csv", "-q", "--requests-jsonl", lines],
        check=True, stdout=subprocess.DEVNULL, timeout=LIMIT_S,
    )
    got = {}
    with open(lines, encoding="utf-8") as file:
        for r in map(json.loads, file):
            speed = 1000 / r["tpot_ms"] if r["tpot_ms"] else None
            more = {"first_write_ms": r["first_write_ms"], "lateness_ms": -r["scheduled_ms"]}
            got[r["response_id"]] = (r["first_token_ms"], speed, more)
    return got, "id"


def run_floor(url, directory, cell):
    del directory
    body_bytes = 3 * cell.document_tokens
    command = [FLOOR, url.removeprefix("http://"), cell.streams, cell.requests, cell.tokens, body_bytes]
    out = subprocess.run(on_cpu(cell, f"1-{os.cpu_count() - 1}") + [str(part) for part in command], check=True,
                         capture_output=True, text=True, timeout=LIMIT_S).stdout
    got = {}
    for name, ttft_ms, span_ms in map(str.split, out.splitlines()):
        speed = (cell.tokens - 1) * 1000 / float(span_ms) if cell.tokens > 1 else None
        got[name] = (float(ttft_ms), speed, {})
    return got, "request_id"


def run_vllm(url, directory, cell):
    result = os.path.join(directory, "vllm.json")
    subprocess.run(
        [os.path.join(newest("vllm-*"), "bin/vllm"), "bench", "serve", "--backend", "openai-chat", "--base-url", url,
         "--endpoint", "/v1/chat/completions", "--model", "mock-model", "--tokenizer", TOKENIZER, "--dataset-name",
         "random", "--random-input-len", str(cell.document_tokens), "--random-output-len", str(cell.tokens),
         "--num-prompts", str(cell.requests), "--max-concurrency", str(cell.streams), "--ignore-eos", "--save-result",
         "--save-detailed", "--result-dir", directory, "--result-filename", "vllm.json", "--request-id-prefix", "truth-",
         "--disable-tqdm", "--ready-check-timeout-sec", "0"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=LIMIT_S,
    )
    with open(result, encoding="utf-8") as file:
        detail = json.load(file)
    both = zip(detail["ttfts"], detail["itls"])
    # A speed per request as vLLM's TPOT is made: from the first to the last token.
    return {f"truth-{n}": (ttft * 1000, len(itls) / sum(itls), {}) for n, (ttft, itls) in enumerate(both)}, "request_id"


def run_aiperf(url, directory, cell):
    subprocess.run(
        [os.path.join(PEERS, "aiperf/bin/aiperf"), "profile", "--model", "mock-model", "--url", url,
         "--endpoint-type", "chat", "--streaming", "--tokenizer", TOKENIZER, "--concurrency", str(cell.streams),
         "--request-count", str(cell.requests), "--synthetic-input-tokens-mean", str(cell.document_tokens),
         "--output-tokens-mean", str(cell.tokens), "--extra-inputs", "ignore_eos:true", "--artifact-dir", directory,
         "--ui", "none"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=LIMIT_S,
    )
    (path,) = glob.glob(os.path.join(directory, "**/profile_export.jsonl"), recursive=True)
    got = {}
    with open(path, encoding="utf-8") as file:
        for line in map(json.loads, file):
            metrics = line["metrics"]
            speed = metrics.get("output_token_throughput_per_user", {}).get("value")
            got[line["metadata"]["x_request_id"]] = (metrics["time_to_first_token"]["value"], speed, {})
    return got, "request_id"


CLIENTS = {"ours": run_ours, "floor": run_floor, "vllm": run_vllm, "aiperf": run_aiperf}


def newest(pattern):
    found = sorted(glob.glob(os.path.join(PEERS, pattern)))
    return found[-1] if found else ""


def is_installed(client):
    paths = {"ours": BINARY, "floor": FLOOR, "vllm": os.path.join(newest("vllm-*"), "bin/vllm"),
             "aiperf": os.path.join(PEERS, "aiperf/bin/aiperf")}
    return os.path.exists(paths[client])


def versions():
    """What the peers call themselves."""
    found = []
    for name, package, folder in (("vLLM", "vllm", newest("vllm-*")), ("AIPerf", "aiperf", os.path.join(PEERS, "aiperf"))):
        paths = glob.glob(os.path.join(folder, f"lib/python*/site-packages/{package}-*.dist-info"))
        if folder and paths:
            found.append(f"{name} {os.path.basename(paths[0]).split('-')[1].removesuffix('.dist')}")
    return ", ".join(found) or "none installed"


def one(client, cell, round_number):
    directory = tempfile.mkdtemp(prefix="lmcache-bench-truth-")
    process, url, log = mock(cell, directory)
    try:
        got, key = CLIENTS[client](url, directory, cell)
        truth = read_truth(log, cell)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)
    values = collections.defaultdict(list)
    for line in truth:
        if line[key] not in got:
            continue
        ttft_ms, speed, more = got[line[key]]
        true_ms = (line["first_token_ns"] - line["arrival_ns"]) / 1e6
        values["error"].append(abs(ttft_ms - true_ms))
        values["true"].append(true_ms)
        values["read"].append(ttft_ms)
        if more:
            values["error_from_first_write"].append(abs(ttft_ms - more["first_write_ms"] - true_ms))
            values["lateness"].append(more["lateness_ms"])
        if speed:
            values["speed"].append(speed)
            values["true_speed"].append((line["events"] - 1) / (line["last_token_ns"] - line["first_token_ns"]) * 1e9)
    result = {"cell": cell.name, "client": client, "round": round_number, "matched": len(values["error"]),
              "requests": cell.requests}
    for name, numbers in values.items():
        result[name] = {"mean": statistics.mean(numbers), "p50": percentile(numbers, 50), "p99": percentile(numbers, 99)}
    return result


def spread(rows, value, digits=3):
    values = [value(row) for row in rows]
    text = [f"{v:.{digits}g}" for v in (statistics.median(values), min(values), max(values))]
    return statistics.median(values), f"{text[0]} [{text[1]}..{text[2]}]"


def speed_error(row):
    """In percent; nothing where answers have one token."""
    return abs(row["speed"]["mean"] / row["true_speed"]["mean"] - 1) * 100 if "speed" in row else 0.0


def verdict(cell, rows):
    """What the bars say about our own rows."""
    kind, count = cell.name.split(":")
    if kind not in ("20/5", "pinned") or int(count) not in BARS:
        return ""
    mean_bar, p99_bar = BARS[int(count)]
    mean, p99 = spread(rows, lambda r: r["error"]["mean"])[0], spread(rows, lambda r: r["error"]["p99"])[0]
    good = mean <= mean_bar and (p99_bar is None or p99 <= p99_bar)
    good = good and spread(rows, speed_error)[0] <= SPEED_BAR_PERCENT
    wanted = f"mean <= {mean_bar}" + (f", p99 <= {p99_bar}" if p99_bar else "") + f", speed <= {SPEED_BAR_PERCENT} %"
    return f"{wanted}: {'met' if good else 'missed'}"


def own_table(by_cell):
    lines = ["| cell | rounds | true TTFT ms | floor error p50 ms | TTFT error mean ms | p99 ms | same, from the first write: mean | "
             "p99 | left late, p99 ms | decode speed error % | bar |", "|" + "---|" * 11]
    for cell in cells():
        rows = by_cell[cell.name]["ours"]
        if not rows:
            continue
        floor = by_cell[cell.name]["floor"]
        floor_ms = spread(floor, lambda r: r["error"]["p50"])[0] if floor else None
        note = "void: the floor is off too" if floor_ms is not None and floor_ms > FLOOR_LIMIT_MS else ""
        columns = [cell.name, str(len(rows)), f"{spread(rows, lambda r: r['true']['mean'])[0]:.2f}",
                   f"{floor_ms:.3g}" if floor else ""]
        for name, figure in (("error", "mean"), ("error", "p99"), ("error_from_first_write", "mean"),
                             ("error_from_first_write", "p99"), ("lateness", "p99")):
            columns.append(spread(rows, lambda r: r[name][figure])[1])
        columns.append(spread(rows, speed_error, 2)[1] if cell.tokens > 1 else "")
        columns.append("; ".join(part for part in (verdict(cell, rows), note) if part))
        lines.append(f"| {' | '.join(columns)} |")
    return lines


def peer_table(by_cell):
    lines = ["| cell | client | rounds | true TTFT ms | TTFT read ms | TTFT error mean ms | p99 ms | decode speed error % | "
             "ours never worse |", "|" + "---|" * 9]
    figures = (lambda r: r["error"]["mean"], lambda r: r["error"]["p99"], speed_error)
    for cell in cells():
        peers = [client for client in ("vllm", "aiperf") if by_cell[cell.name][client]]
        for client in ["ours", *peers] if peers else []:
            rows = by_cell[cell.name][client]
            medians, texts = zip(*(spread(rows, figure) for figure in figures))
            ours = [spread(by_cell[cell.name]["ours"], figure)[0] for figure in figures]
            better = "" if client == "ours" else "yes" if all(a <= b for a, b in zip(ours, medians)) else "no"
            true, read = (spread(rows, lambda r: r[name]["mean"])[0] for name in ("true", "read"))
            lines.append(f"| {cell.name} | {client} | {len(rows)} | {true:.2f} | {read:.2f} | {' | '.join(texts)} | {better} |")
    return lines


def table(results):
    by_cell = collections.defaultdict(lambda: collections.defaultdict(list))
    for result in results:
        by_cell[result["cell"]][result["client"]].append(result)
    lines = [
        "# How far the clients are from the truth", "",
        f"Made by `scripts/engine-truth.py` on {os.cpu_count()} cores shared by mock and client, Linux {platform.release()}. A "
        "cell is TTFT/ITL in ms : streams. Answers have 64 tokens at 20/5 and 32 at 50/20; `burst` is that many requests of "
        "30 KB and one token at once; `decode` is one answer of that many events, 1 ms apart; `pinned` is 20/5 with the mock on "
        "one core and the client on the other; everything else is unpinned. Truth is the mock's log, request by request. "
        "Numbers are medians of rounds, with the least and the largest round in brackets. Errors are without sign.", "",
        "The true TTFT is above the schedule where mock and client together need more than the cores give: the mock is late "
        "then, its log says so, and what is compared is what the client says about it.", "",
        "## Ours against the bars", "",
        "Our TTFT starts when a thread takes the request up; everything after that is in it, a wait for a core included. The "
        "error of the same requests counted from the first write shows how much of it that is. `left late` is the time before: "
        "from the moment a place was free to the thread taking the request up (`Dispatch lateness` in the report). `floor` "
        "are plain blocking sockets without JSON and without kernel stamps (scripts/raw_reader.rs). `pinned:1000` asks one core to "
        "read 200,000 events per second from 1000 threads: reads come late, and what one read brings has the stamp of the last.",
        "",
        *own_table(by_cell), "",
        "## Ours and others", "",
        f"Peers: {versions()}. Each client's TTFT is its own; the peers' starts when their event loop takes a request up. "
        "`never worse` compares the medians of all three errors.", "",
        *peer_table(by_cell),
    ]
    return "\n".join(lines) + "\n"


def read_state(path):
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return []


def write_state(path, results):
    if path:
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(results, file)
        os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="20/5,50/20,burst,decode,pinned")
    parser.add_argument("--clients", default="ours,floor,vllm,aiperf")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--state", help="JSON file that gathers results of several calls")
    parser.add_argument("--stop-after-s", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true", help="only print the table of --state")
    parser.add_argument("--out", help="also write the table to this file")
    args = parser.parse_args()
    begin = time.monotonic()
    results = read_state(args.state)
    wanted = set(args.cells.split(","))
    chosen = [cell for cell in cells() if wanted & {cell.name, cell.name.split(":")[0]}]
    clients = [client for client in args.clients.split(",") if is_installed(client)]
    done = {(r["cell"], r["client"], r["round"]) for r in results}
    left = 0
    for round_number in range(0 if args.table else args.rounds):
        for cell in chosen:
            order = [client for client in clients if client in cell.clients]
            for client in order if round_number % 2 == 0 else order[::-1]:
                if (cell.name, client, round_number) in done:
                    continue
                if time.monotonic() - begin > args.stop_after_s:
                    left += 1
                    continue
                result = one(client, cell, round_number)
                print(f"{cell.name} {client} round {round_number}: {result['matched']} of {result['requests']} matched, "
                      f"error mean {result['error']['mean']:.3f} ms", file=sys.stderr, flush=True)
                results.append(result)
                write_state(args.state, results)
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
