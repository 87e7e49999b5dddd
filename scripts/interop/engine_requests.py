"""Runs LMCache's `bench engine` and ours with the same flags against a recording server and compares what arrived.

Usage: python -m interop.engine_requests SCRATCH LMCACHE_EXECUTABLE
"""

import collections
import http.server
import itertools
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request

from lib.checks import Tally
from lib.lmcache import command
from lib.native import REPOSITORY, binary

MODEL_LISTED = "WORDS"
RUN_TIMEOUT_S = 600
KEY = "sk-interop"
# Runs with a schedule are repeated so often when the machine held them up.
TRIES = 5
TOKEN_PAGES = ("/tokenize", "/detokenize")
# The first release that has kv-tier-pressure.
WITH_PRESSURE = "0.5.7"
# A cache server of 3.25 GB with 16 tokens per GB, which blends.
STATUS = {
    "cache_context_meta": {"1": {"model_name": "WORDS", "world_size": 2, "kv_cache_layout": {"cache_size_per_token": 1 << 25}}},
    "storage_manager": {"l1_manager": {"memory_total_bytes": 13 << 28}},
    "active_cb_lookups": 0,
}


# How a prompt of rag-qa-quality ends.
ASKS = "\nAnswer:"
DATASET = [
    {"id": "a", "question": "Which town lies on the Orra?", "answer": "Which town", "paragraphs": [
        {"title": "Velm", "paragraph_text": "Velm lies on the Orra."}, {"title": "", "paragraph_text": "Rivers run to the sea."}]},
    {"_id": "b\u00e9", "question": "Where does it rain?", "answers": ["Where it rains", "Nim"], "ctxs": ["It rains in Nim.", "Velm\nVelm lies on the Orra."]},
    {"id": "left out", "question": "Why?", "answers": [], "ctxs": ["x"]},
    {"question": "Cut off: who?", "answer": True, "context": [["Snow", ["It snows. ", "Often."]], ["only a title"]]},
    {"id": 7, "query": "Is {it} \"high\"?", "reference": "the high one", "retrieved_contexts": ["A tower\tof 7 m.", "It rains in Nim."],
     "answer_aliases": ["is it high"]},
]  # fmt: skip
RECORDS = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in DATASET)


def graded(prompt: str) -> list[str]:
    """An answer of the first words of the question; one to a question of a certain beginning is cut off."""
    question = prompt.rsplit("Question: ", 1)[1].removesuffix(ASKS)
    answer = ["Well: <final_", "answer>", *(f"{word} " for word in question.split()[:3])]
    return answer if question.startswith("Cut off") else [*answer, "</final_answer>."]


class Recorder(http.server.ThreadingHTTPServer):
    """An engine that answers " word" max_tokens times and keeps (authorization, path, body) in order of arrival. Questions
    about tokens go to the engine at `tokenizer`; without one there is no such page, and they are not kept. It is an LMCache
    server too, which looks up 100 tokens for each request and has 30 of them."""

    daemon_threads = True
    # A burst of connections must not wait for retransmitted handshakes.
    request_queue_size = 1024

    def __init__(self, tokenizer: str | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.tokenizer = tokenizer
        self.lock = threading.Lock()
        self.seen: list[tuple[str, str, bytes]] = []
        # When these came, and when those came that were taken last.
        self.times: list[float] = []
        self.taken_times: list[float] = []
        self.count = 0

    def record(self, entry: tuple[str, str, bytes]) -> None:
        with self.lock:
            self.seen.append(entry)
            self.times.append(time.monotonic())
            self.count += 1

    def take(self) -> list[tuple[str, str, bytes]]:
        with self.lock:
            seen, self.seen = self.seen, []
            self.taken_times, self.times = self.times, []
        return seen


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/status":
            return self.answer("application/json", json.dumps(STATUS).encode())
        if self.path == "/metrics":
            counts = {"requested": 100 * self.server.count, "hit": 30 * self.server.count}
            lines = [f'lmcache_blend_lookup_{name}_tokens_total{{model_name="m"}} {count}\n' for name, count in counts.items()]
            return self.answer("text/plain", "".join(lines).encode())
        return self.answer("application/json", json.dumps({"object": "list", "data": [{"id": MODEL_LISTED}]}).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path in TOKEN_PAGES:
            self.answer_about_tokens(body)
            return
        self.server.record((self.headers["authorization"], self.path, body))
        asked = json.loads(body)
        pieces = [" word"] * asked["max_tokens"]
        prompt = str(asked.get("messages", [{}])[-1].get("content"))
        if prompt.endswith(ASKS):
            pieces = graded(prompt)
        tokens = len(pieces)
        chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
        chunks += [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
        chunks += [{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}}]
        common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL_LISTED}
        events = [json.dumps(common | chunk) for chunk in chunks] + ["[DONE]"]
        self.answer("text/event-stream", "".join(f"data: {event}\n\n" for event in events).encode())

    def answer_about_tokens(self, body: bytes):
        upstream = self.server.tokenizer
        if not upstream:
            self.answer("application/json", b'{"detail": "Not Found"}', 404)
            return
        request = urllib.request.Request(upstream + self.path, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=RUN_TIMEOUT_S) as reply:
                self.answer("application/json", reply.read())
        except urllib.error.HTTPError as error:
            self.answer("application/json", error.read(), error.code)

    def answer(self, kind: str, body: bytes, status: int = 200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Bench:
    """Both programs, in a folder where the model names lead to tokenizers."""

    def __init__(self, scratch: pathlib.Path, lmcache: str, server: Recorder):
        self.scratch, self.server = scratch, server
        self.url = server.url
        self.programs = {"theirs": [lmcache, "bench", "engine"], "ours": [binary(), "bench", "engine"]}
        self.programs[WITH_PRESSURE], self.environment = command(WITH_PRESSURE, "bench", "engine")
        self.printed: dict[str, str] = {}
        for name, folder in [("TINY", "tiny-tokenizer"), ("WORDS", "words-tokenizer")]:
            (scratch / name).symlink_to(REPOSITORY / "tests/golden/engine" / folder)

    def run(self, side: str, *flags: str) -> list[tuple[str, str, bytes]]:
        """What one run sent."""
        extra = ["--no-certificate"] if side == "ours" else []
        command = [*self.programs[side], "--engine-url", self.url, "--output-dir", f"out-{side}", *flags, *extra]
        environment = (self.environment if side == WITH_PRESSURE else os.environ) | {"OPENAI_API_KEY": KEY, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        self.server.take()
        done = subprocess.run(
            command, cwd=self.scratch, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise AssertionError(f"{side}: exit code {done.returncode} of {' '.join(command)}\n{done.stdout}{done.stderr}")
        if KEY in done.stdout + done.stderr:
            raise AssertionError(f"{side}: printed the API key")
        self.printed[side] = done.stdout
        return self.server.take()

    def run_on_time(self, side: str, *flags: str) -> list[tuple[str, str, bytes]]:
        """A run of CHAT that the machine did not hold up: a turn that is late may be left out by either program."""
        for _ in range(TRIES):
            sent = self.run(side, *flags)
            held_up = off_schedule(sent, self.server.taken_times)
            if not held_up:
                return sent
            print(f"        a run of {side} is void: {held_up}", flush=True)
        raise AssertionError(f"{side}: no run of {TRIES} was on time; the last one: {held_up}")

    def compare(self, flags: list[str], ordered: bool = True, reference: str = "theirs") -> None:
        """The same flags for both."""
        theirs = self.run(reference, *flags)
        same(self.run("ours", *flags), theirs, ordered)

    def section(self, side: str, label: str) -> list[str]:
        """The lines of one section of the last report."""
        lines = self.printed[side].split(f" {label} ---", 1)[1].splitlines()[1:]
        return list(itertools.takewhile(lambda line: not line.startswith(("-", "=")), lines))


def same(ours: list, theirs: list, ordered: bool = True) -> None:
    if not theirs:
        raise AssertionError("the reference sent nothing")
    if not ordered:
        missing = collections.Counter(theirs) - collections.Counter(ours)
        more = collections.Counter(ours) - collections.Counter(theirs)
        if missing or more:
            raise AssertionError(f"{sum(missing.values())} of theirs are missing, {sum(more.values())} of ours are others")
        return
    for number, pair in enumerate(zip(ours, theirs)):
        if pair[0] != pair[1]:
            raise AssertionError(f"request {number} differs:\n ours   {pair[0]}\n theirs {pair[1]}"[:2000])
    if len(ours) != len(theirs):
        raise AssertionError(f"{len(ours)} requests instead of {len(theirs)}")


def off_schedule(sent: list, times: list[float]) -> str:
    """How the machine held up a run of CHAT; empty when it did not. Warmups, which come first, ask for one token."""
    turns = [at for (_, _, body), at in zip(sent, times, strict=True) if json.loads(body)["max_tokens"] == CHAT_ANSWER_TOKENS]
    if len(turns) < CHAT_TURNS:
        return f"{len(turns)} of {CHAT_TURNS} turns"
    off = [at - turns[0] - number * CHAT_INTERVAL_S for number, at in enumerate(turns)]
    return f"turns are off by {max(off, key=abs):.2f} s" if max(map(abs, off)) > CHAT_INTERVAL_S / 2 else ""


def flags_of(workload: str, model: str, tokens_per_gb: int, *more: str) -> list[str]:
    return ["--workload", workload, "--model", model, "--tokens-per-gb-kvcache", str(tokens_per_gb), *more]


QA = flags_of("long-doc-qa", "TINY", 900, "--kv-cache-volume", "1", "--ldqa-document-length", "90")
# Ten turns, the last one half a second before the end.
CHAT_TURNS, CHAT_INTERVAL_S, CHAT_ANSWER_TOKENS = 10, 0.5, 5
CHAT = flags_of(
    "multi-round-chat", "TINY", 100, "--kv-cache-volume", "1", "--mrc-shared-prompt-length", "18",
    "--mrc-chat-history-length", "15", "--mrc-output-length", str(CHAT_ANSWER_TOKENS), "--mrc-qps", str(int(1 / CHAT_INTERVAL_S)),
    "--mrc-duration", str(int(CHAT_TURNS * CHAT_INTERVAL_S)),
)  # fmt: skip
PERMUTATOR = flags_of(
    "long-doc-permutator", "WORDS", 10, "--ldp-num-contexts", "5", "--ldp-context-length", "60",
    "--ldp-system-prompt-length", "11", "--ldp-num-permutations", "9", "--ldp-max-output-length", "4",
)  # fmt: skip
TUNER = flags_of(
    "prefix-suffix-tuner", "WORDS", 2000, "--psf-context-length", "400", "--psf-prefix-ratio", "0.6", "--psf-thrash", "1"
)
PRESSURE = [
    "--workload", "kv-tier-pressure", "--model", "WORDS", "--ktp-docs-per-request", "4", "--ktp-context-length", "9",
    "--ktp-system-prompt-length", "5", "--ktp-num-requests", "7", "--ktp-max-output-length", "2",
]  # fmt: skip
RAG = flags_of(
    "rag-qa-quality", "WORDS", 10, "--rag-dataset", "rag.jsonl", "--rag-doc-align-tokens", "16", "--rag-max-output-length", "9",
    "--rag-output", "made/rag.json",
)  # fmt: skip
PREFILL = flags_of("random-prefill", "TINY", 10, "--rp-num-requests", "40", "--rp-request-length", "300")


def check_order_of_one_at_a_time(bench: Bench) -> None:
    bench.compare([*QA, "--ldqa-num-inflight-requests", "1", "--seed", "-5", "--ignore-eos"])


def check_window(bench: Bench) -> None:
    bench.compare([*QA, "--ldqa-num-inflight-requests", "4", "--ldqa-shuffle-policy", "tile"], ordered=False)


def check_chat(bench: Bench) -> None:
    theirs = bench.run_on_time("theirs", *CHAT)
    same(bench.run_on_time("ours", *CHAT), theirs)


def check_permutator(bench: Bench) -> None:
    bench.compare([*PERMUTATOR, "--seed", "18446744073709551629"])


def check_tuner(bench: Bench) -> None:
    bench.compare([*TUNER, "--seed", "7"])


def check_tuner_without_tokenizer(bench: Bench) -> None:
    flags = ["NOWHERE" if flag == "WORDS" else flag for flag in TUNER]
    bench.compare([*flags, "--no-warmup"])


def check_pressure(bench: Bench) -> None:
    """One request at a time: uniform draws, then Zipf's with a number of documents from the server, and its lookups."""
    one = [*PRESSURE, "--ktp-num-inflight-requests", "1"]
    plain = ["--tokens-per-gb-kvcache", "10", "--ktp-pool-size", "90", "--seed", "-5", "--ignore-eos"]
    bench.compare([*one, *plain], reference=WITH_PRESSURE)
    bench.compare([*one, "--lmcache-url", bench.url, "--ktp-overflow-factor", "1.7", "--ktp-access-skew", "1.1"], reference=WITH_PRESSURE)
    ours, theirs = (bench.section(side, "Document pool") for side in ("ours", WITH_PRESSURE))
    if ours != theirs or len(ours) != 10:
        raise AssertionError(f"the section differs:\n{ours}\n{theirs}")


def check_pressure_window(bench: Bench) -> None:
    flags = ["--tokens-per-gb-kvcache", "10", "--ktp-pool-size", "21", "--ktp-num-inflight-requests", "3"]
    bench.compare([*PRESSURE, *flags], ordered=False, reference=WITH_PRESSURE)


def check_pressure_config_files(bench: Bench) -> None:
    """A file of each program, read by the other."""
    flags = [*PRESSURE, "--tokens-per-gb-kvcache", "10", "--ktp-pool-size", "30", "--ktp-num-inflight-requests", "1"]
    direct = bench.run("ours", *flags)
    for writer, reader in [(WITH_PRESSURE, "ours"), ("ours", WITH_PRESSURE)]:
        bench.run(writer, *flags, "--export-config", f"pressure-{writer}.json")
        same(bench.run(reader, "--config", f"pressure-{writer}.json"), direct)


def check_rag(bench: Bench) -> None:
    """The same bodies, results and section; the digest of the prompts is the next release's."""
    (bench.scratch / "rag.jsonl").write_text(RECORDS)
    kwargs = ["--rag-template-kwargs", "enable_thinking=false", "--rag-template-kwargs", " n =-007"]
    for more in ([], ["--seed", "-77", "--rag-num-samples", "3", "--ignore-eos", *kwargs]):
        results, sent = {}, {}
        for side in ("theirs", WITH_PRESSURE, "ours"):
            sent[side] = bench.run(side, *RAG, *more)
            results[side] = rag_results(bench.scratch / "made/rag.json")
        same(sent["ours"], sent["theirs"])
        same(sent["ours"], sent[WITH_PRESSURE])
        prompts = results["ours"].pop("prompt_fingerprint")
        if prompts != results[WITH_PRESSURE]["run_fingerprint"]:
            raise AssertionError("the digest of the prompts differs from that of the next release")
        if results["ours"] != results["theirs"] or not 0 < results["ours"]["summary"]["num_parsed"] < len(results["ours"]["per_sample"]):
            raise AssertionError(f"the results differ:\n{results['ours']}\n{results['theirs']}")
        ours, theirs = (bench.section(side, "Answer Quality") for side in ("ours", "theirs"))
        if [line for line in ours if "Prompt fingerprint" not in line] != theirs or len(theirs) != 5:
            raise AssertionError(f"the section differs:\n{ours}\n{theirs}")


def rag_results(path: pathlib.Path) -> dict:
    """A results file, with the signs of its times."""
    results = json.loads(path.read_text())
    for line in results["per_sample"]:
        line["ttft"] = line["ttft"] > 0
    path.unlink()
    return results


def check_burst(bench: Bench) -> None:
    bench.compare(PREFILL, ordered=False)


def check_model_of_the_engine(bench: Bench) -> None:
    at = QA.index("--model")
    bench.compare([*QA[:at], *QA[at + 2 :], "--ldqa-num-inflight-requests", "1"])


def check_their_config_files(bench: Bench) -> None:
    """Files that the reference wrote, also of workloads that it cannot run from a file."""
    (bench.scratch / "rag.jsonl").write_text(RECORDS)
    for name, flags, ordered in [("qa", QA, False), ("tuner", TUNER, True), ("prefill", PREFILL, False), ("rag", RAG, True)]:
        bench.run("theirs", *flags, "--export-config", f"theirs-{name}.json")
        direct = bench.run("ours", *flags)
        same(bench.run("ours", "--config", f"theirs-{name}.json"), direct, ordered)


def check_our_config_files(bench: Bench) -> None:
    """Files that we wrote, read by the reference: the same requests as ours."""
    for name, flags in [("chat", CHAT), ("qa", [*QA, "--ldqa-num-inflight-requests", "1", "--ignore-eos"])]:
        run = bench.run_on_time if name == "chat" else bench.run
        bench.run("ours", *flags, "--export-config", f"ours-{name}.json")
        theirs = run("theirs", "--config", f"ours-{name}.json")
        same(run("ours", *flags), theirs)


CHECKS = [
    check_order_of_one_at_a_time,
    check_window,
    check_chat,
    check_permutator,
    check_tuner,
    check_tuner_without_tokenizer,
    check_pressure,
    check_pressure_window,
    check_pressure_config_files,
    check_rag,
    check_burst,
    check_model_of_the_engine,
    check_their_config_files,
    check_our_config_files,
]


def main() -> None:
    server, tally = Recorder(), Tally()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bench = Bench(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], server)
    for check in CHECKS:
        problem = ""
        try:
            check(bench)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            problem = error
        except Exception:
            problem = traceback.format_exc()
        tally.that(check.__name__.removeprefix("check_").replace("_", " "), not problem, problem)
    tally.end()


if __name__ == "__main__":
    main()
