"""The clients whose TTFT is compared with the mock engine's log: ours, plain sockets, and the peers that scripts/peers/peers.sh
installs. Standard library only. Requests are matched one by one: ours and GuideLLM's by the answer's id, the others by their
x-request-id."""

import collections
import json
import os
import pathlib
import statistics
import tempfile

from lib import engine, native
from lib.peers import peers_folder
from lib.slices import spread

PEERS = peers_folder()
TOKENIZER = native.REPOSITORY / "tests/golden/engine/tiny-tokenizer"


def percentile(values, p):
    values = sorted(values)
    at = (len(values) - 1) * p / 100
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


# What goes wrong where a peer cannot do a cell: it fails, writes no results, or other ones than expected.
PEER_FAILURES = (AssertionError, OSError, ValueError, LookupError, TypeError, ArithmeticError)

# Each client returns what engine.run_ours does, without the requests that failed.


def run_floor(url, directory, cell):
    del directory
    body_bytes = 3 * cell.document_tokens
    command = [native.raw_reader(), url.removeprefix("http://"), cell.streams, cell.requests, cell.tokens, body_bytes]
    done = native.run([*engine.on_cpu(cell, f"1-{os.cpu_count() - 1}"), *command], limit_s=engine.LIMIT_S).expect(0)
    got = {}
    for name, ttft_ms, span_ms in map(str.split, done.stdout.splitlines()):
        speed = (cell.tokens - 1) * 1000 / float(span_ms) if cell.tokens > 1 else None
        got[name] = (float(ttft_ms), speed, {})
    return got, "request_id"


def run_vllm(url, directory, cell):
    result = pathlib.Path(directory, "vllm.json")
    command = [
        *(newest("vllm-*") / "bin/vllm", "bench", "serve", "--backend", "openai-chat", "--base-url", url),
        *("--endpoint", "/v1/chat/completions", "--model", "mock-model", "--tokenizer", TOKENIZER, "--dataset-name", "random"),
        *("--random-input-len", cell.document_tokens, "--random-output-len", cell.tokens, "--num-prompts", cell.requests),
        *(("--request-rate", cell.rate) if cell.rate else ("--max-concurrency", cell.streams)),
        *("--ignore-eos", "--save-result", "--save-detailed", "--result-dir", directory),
        *("--result-filename", result.name, "--request-id-prefix", "truth-", "--disable-tqdm", "--ready-check-timeout-sec", 0),
    ]
    native.run(command, limit_s=engine.LIMIT_S).expect(0)
    detail = json.loads(result.read_text())
    got = {}
    for number, (ttft, itls) in enumerate(zip(detail["ttfts"], detail["itls"])):
        # A request that failed has a TTFT of 0, or lacks the gaps between its tokens.
        if ttft and (itls or cell.tokens == 1):
            # A speed per request as vLLM's TPOT is made: from the first to the last token.
            got[f"truth-{number}"] = (ttft * 1000, len(itls) / sum(itls) if itls else None, {})
    return got, "request_id"


def run_aiperf(url, directory, cell):
    command = [
        *(PEERS / "aiperf/bin/aiperf", "profile", "--model", "mock-model", "--url", url, "--endpoint-type", "chat"),
        *("--streaming", "--tokenizer", TOKENIZER, "--request-count", cell.requests),
        *(("--request-rate", cell.rate, "--arrival-pattern", "poisson") if cell.rate else ("--concurrency", cell.streams)),
        *("--synthetic-input-tokens-mean", cell.document_tokens, "--output-tokens-mean", cell.tokens),
        *("--extra-inputs", "ignore_eos:true", "--artifact-dir", directory, "--ui", "none"),
    ]
    native.run(command, limit_s=engine.LIMIT_S).expect(0)
    paths = list(pathlib.Path(directory).rglob("profile_export.jsonl"))
    if len(paths) != 1:
        raise ValueError(f"{len(paths)} files profile_export.jsonl instead of one")
    got = {}
    for line in map(json.loads, paths[0].read_text().splitlines()):
        metrics = line["metrics"]
        # A request that failed lacks it.
        if "time_to_first_token" not in metrics:
            continue
        speed = metrics.get("output_token_throughput_per_user", {}).get("value")
        got[line["metadata"]["x_request_id"]] = (metrics["time_to_first_token"]["value"], speed, {})
    return got, "request_id"


def run_guidellm(url, directory, cell):
    result = pathlib.Path(directory, "guidellm.json")
    profile = f"kind=poisson,rate={cell.rate}" if cell.rate else f"kind=concurrent,streams={cell.streams}"
    backend = f"kind=openai_http,target={url},model=mock-model,request_format=/v1/chat/completions"
    command = [
        *(PEERS / "guidellm/bin/guidellm", "run", "--backend", backend, "--profile", profile, "--disable-console"),
        *("--constraint", f"kind=max_requests,count={cell.requests}", "--output", f"kind=json,path={result}"),
        *("--data", f"kind=synthetic_text,prompt_tokens={cell.document_tokens},output_tokens={cell.tokens}"),
        *("--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}"),
    ]
    native.run(command, limit_s=engine.LIMIT_S).expect(0)
    (benchmark,) = json.loads(result.read_text())["benchmarks"]
    got = {}
    for r in benchmark["requests"]["successful"]:
        if r["time_to_first_token_ms"] is None:
            continue
        # Its time between tokens is from the first to the last token.
        speed = 1000 / r["inter_token_latency_ms"] if r["inter_token_latency_ms"] else None
        got[r["response_id"]] = (r["time_to_first_token_ms"], speed, {})
    return got, "id"


CLIENTS = {"ours": engine.run_ours, "floor": run_floor, "vllm": run_vllm, "aiperf": run_aiperf, "guidellm": run_guidellm}


def newest(pattern):
    """A log of the installation lies beside each folder."""
    return max(filter(pathlib.Path.is_dir, PEERS.glob(pattern)), default=PEERS / "none")


def is_installed(client):
    paths = {"ours": native.binary(), "floor": native.raw_reader(), "vllm": newest("vllm-*") / "bin/vllm",
             "aiperf": PEERS / "aiperf/bin/aiperf", "guidellm": PEERS / "guidellm/bin/guidellm"}  # fmt: skip
    return os.path.exists(paths[client])


def versions():
    """What the peers call themselves."""
    found = []
    for name, package, folder in (("vLLM", "vllm", newest("vllm-*")), ("AIPerf", "aiperf", PEERS / "aiperf"),
                                  ("GuideLLM", "guidellm", PEERS / "guidellm")):  # fmt: skip
        for path in list(folder.glob(f"lib/python*/site-packages/{package}-*.dist-info"))[:1]:
            found.append(f"{name} {path.name.split('-')[1].removesuffix('.dist')}")
    return ", ".join(found) or "none installed"


def one(client, cell, number):
    """One round of one client: distances from the mock's log."""
    with tempfile.TemporaryDirectory(prefix="lmcache-bench-truth-") as directory:
        with engine.logged_mock(cell, directory) as (url, log):
            got, key = CLIENTS[client](url, directory, cell)
            truth = log()
    values = collections.defaultdict(list)
    for line in truth:
        if line[key] not in got:
            continue
        ttft_ms, speed, more = got[line[key]]
        true_ms = engine.true_ttft_ms(line)
        values["error"].append(abs(ttft_ms - true_ms))
        values["true"].append(true_ms)
        values["read"].append(ttft_ms)
        if more:
            values["error_from_first_write"].append(abs(ttft_ms - more["first_write_ms"] - true_ms))
            values["lateness"].append(more["lateness_ms"])
        if speed:
            values["speed"].append(speed)
            values["true_speed"].append((line["events"] - 1) / (line["last_token_ns"] - line["first_token_ns"]) * 1e9)
    if not values:
        raise AssertionError(f"{client} has a TTFT for none of the {len(truth)} requests in the mock's log")
    result = {"cell": cell.name, "client": client, "round": number, "matched": len(values["error"]),
              "requests": cell.requests}
    for name, numbers in values.items():
        result[name] = {"mean": statistics.mean(numbers), "p50": percentile(numbers, 50), "p99": percentile(numbers, 99)}
    return result


def median(rows, value):
    return statistics.median(map(value, rows))


def median_and_range(rows, value, form=".3g"):
    return spread([value(row) for row in rows], form)
