"""Runs every workload against a real vLLM and compares the requests with the counters of the servers.

Usage: python -m interop.engine_stack SCRATCH VLLM_ENVIRONMENT
"""

import json
import os
import pathlib
import sys
import threading
import time
import traceback

from interop import tiny_model
from interop.engine_requests import TRIES, Recorder
from lib import native
from lib.checks import Tally
from lib.lmcache import CacheServer
from lib.servers import Server, free_ports, get, post

MODEL = "tiny"
# vLLM's blocks on CPUs have 128 tokens. 160 of them are the HBM tier; the pool of the tuner does not fit.
BLOCK_TOKENS, BLOCKS = 128, 160
CHUNK_TOKENS = 256
TIER_GB = BLOCKS * BLOCK_TOKENS / tiny_model.TOKENS_PER_GB
CONTEXT_TOKENS = 1000
# A turn that was sent so much later than its time is the machine's doing.
LATE_MS = 500
SETTLE_S = 60
QUESTION = "What is this document about?"


def counters(url: str, prefix: str) -> dict[str, float]:
    """The samples of a Prometheus page whose names begin with `prefix`, labels included."""
    samples = (line.rpartition(" ") for line in get(f"{url}/metrics", timeout=SETTLE_S).splitlines() if line.startswith(prefix))
    return {name: float(value) for name, _, value in samples}


class Engine:
    """A running vLLM and, if there is one, the LMCache server behind it."""

    def __init__(self, scratch: pathlib.Path, checks: Tally, url: str, cache_url: str | None) -> None:
        self.scratch, self.checks, self.url, self.cache_url = scratch, checks, url, cache_url
        self.runs = 0

    def tokens(self, text: str) -> int:
        return post(f"{self.url}/tokenize", {"model": MODEL, "prompt": text, "add_special_tokens": False})["count"]

    def template_tokens(self, *roles: str) -> int:
        """What the chat template adds to messages with these roles."""
        messages = [{"role": role, "content": ""} for role in roles]
        return post(f"{self.url}/tokenize", {"model": MODEL, "messages": messages})["count"]

    def sources(self) -> dict[str, float]:
        """Prompt tokens by where they came from: the engine's counters, and the cache server's if there is one."""
        by_label = counters(self.url, "vllm:prompt_tokens_by_source_total{")
        found = {name.split('source="')[1].split('"')[0]: value for name, value in by_label.items()}
        if self.cache_url:
            for tier in ("l1", "l2"):
                samples = counters(self.cache_url, f"lmcache_mp_lookup_hit_{tier}_tokens_total")
                found[tier] = sum(samples.values())
        return found

    def settled_sources(self) -> dict[str, float]:
        """With a cache server, once two reads agree: it counts after the answers."""
        found, deadline = self.sources(), time.monotonic() + SETTLE_S
        while self.cache_url and time.monotonic() < deadline:
            time.sleep(0.5)
            before, found = found, self.sources()
            if found == before:
                break
        return found

    def run_counted(self, workload: str, *flags: object) -> "Run":
        """A run whose report has the engine's counters, which a busy engine may fail to give in time."""
        for _ in range(TRIES):
            run = self.run(workload, *flags)
            if "no-counters" not in run.warned():
                break
            print("        a run is void: it could not read the counters", flush=True)
        return run

    def run(self, workload: str, *flags: object) -> "Run":
        self.runs += 1
        folder = self.scratch / f"run-{self.runs}-{workload}"
        return Run(self, workload, folder, [str(flag) for flag in flags])


class Run:
    """One run of our binary: its report, its records, and what the servers counted meanwhile."""

    def __init__(self, engine: Engine, workload: str, folder: pathlib.Path, flags: list[str]) -> None:
        records = folder / "requests.jsonl"
        command = [
            *(native.binary(), "engine", "--engine-url", engine.url, "--workload", workload, "--no-interactive"),
            *("--output-dir", str(folder), "--json", "--format", "json", "--requests-jsonl", str(records)),
            *("--no-certificate", *flags),
        ]
        folder.mkdir(parents=True)
        self.checks = engine.checks
        before = engine.settled_sources()
        done = native.run(command, limit_s=600)
        after = engine.settled_sources()
        self.sources = {name: after[name] - before.get(name, 0) for name in after}
        self.code, self.stderr = done.code, done.stderr
        try:
            self.report = json.loads(done.stdout)
            self.records = [json.loads(line) for line in records.read_text().splitlines()]
            self.summary = json.loads((folder / "bench_summary.json").read_text())
        except (OSError, ValueError):
            self.report, self.records, self.summary = {}, [], {"config": {}, "results": {}}

    def counted(self) -> dict[str, int]:
        """What our report says that the servers counted in the measured phase."""
        return self.report.get("metrics", {}).get("prompt_sources", {})

    def warned(self) -> list[str]:
        return [row["code"] for row in self.report.get("metrics", {}).get("warnings", [])]

    def explained(self, code: str) -> str:
        """The sentences of `hits_explained` with this code."""
        notes = self.report.get("metrics", {}).get("hits_explained", [])
        return " ".join(note["text"] for note in notes if note["code"] == code)

    def cached_tokens(self) -> list[int]:
        return [record["cached_tokens"] or 0 for record in self.records]

    def prompt_tokens(self) -> list[int]:
        return [record["prompt_tokens"] for record in self.records]

    def check(self, name: str, requests: int, answer_tokens: int) -> "Run":
        """Checks of every run: it succeeds, with this many requests, each answered with exactly this many tokens."""
        checks = self.checks
        checks.that(f"{name}: succeeds", self.code == 0, f"exit status {self.code}: {self.stderr[-800:]}")
        checks.equal(f"{name}: requests", self.summary["results"].get("successful_requests"), requests)
        counts = [record["completion_tokens"] for record in self.records]
        checks.equal(f"{name}: tokens of each answer", counts, [answer_tokens] * requests)
        return self


def sized(*flags: object) -> list[object]:
    """Flags for tiny_model's tokens per GB, so that nothing needs to be asked."""
    return ["--tokens-per-gb-kvcache", tiny_model.TOKENS_PER_GB, *flags]


def check_workloads(engine: Engine, tokenizer: pathlib.Path) -> None:
    """The four workloads that are not about tiers, each with exact token counts."""
    checks = engine.checks
    exact = ("--tokenizer", tokenizer, "--ignore-eos")
    user = engine.template_tokens("user")

    run = engine.run("random-prefill", *sized(*exact, "--exact-lengths", "--rp-request-length", 500, "--rp-num-requests", 8))
    run.check("random-prefill", 8, 1)
    checks.equal("random-prefill: prompt tokens", run.prompt_tokens(), [500 + user] * 8)

    volume = 4 * 1000 / tiny_model.TOKENS_PER_GB + 1e-9
    run = engine.run_counted(
        "long-doc-qa",
        *sized(*exact, "--exact-lengths", "--kv-cache-volume", volume, "--ldqa-document-length", 1000),
        *("--ldqa-query-per-document", 1, "--ldqa-max-output-length", 8),
    )
    run.check("long-doc-qa", 4, 8)
    question = engine.tokens(f"\n\nQuestion 0: {QUESTION}")
    checks.equal("long-doc-qa: prompt tokens", run.prompt_tokens(), [1000 + question + user] * 4)
    cached = run.cached_tokens()
    whole_blocks = 1000 // BLOCK_TOKENS * BLOCK_TOKENS
    checks.that("long-doc-qa: documents are found in the cache", min(cached, default=0) >= whole_blocks, cached)
    checks.equal("long-doc-qa: our report says what the engine counted", run.counted().get("engine_cache"), sum(cached))

    run = engine.run(
        "long-doc-permutator",
        *sized(*exact, "--ldp-num-contexts", 3, "--ldp-context-length", 300, "--ldp-system-prompt-length", 100),
        *("--ldp-num-permutations", 5, "--ldp-max-output-length", 4),
    )
    run.check("long-doc-permutator", 5, 4)
    asked = 100 + 3 * 300 + 2 * engine.tokens("\n\n")
    checks.equal(
        "long-doc-permutator: prompt tokens", run.prompt_tokens(), [asked + engine.template_tokens("system", "user")] * 5
    )

    run = chat(engine, *exact).check("multi-round-chat", 8, 8)
    first = engine.template_tokens("system", "user", "assistant", "user")
    text_tokens = 200 + 400 + engine.tokens("Understood, I have read the context above.") + 20
    prompts = {record["request_id"]: record["prompt_tokens"] for record in run.records}
    firsts = [prompts.get("s0_r0"), prompts.get("s1_r1")]
    checks.equal("multi-round-chat: prompt tokens of the first rounds", firsts, [first + text_tokens] * 2)


def chat(engine: Engine, *exact: object) -> Run:
    """Eight turns, unless the machine holds one up, which may then be left out: such a run is repeated."""
    volume = 2 * 600 / tiny_model.TOKENS_PER_GB + 1e-9
    for _ in range(TRIES):
        run = engine.run(
            "multi-round-chat",
            *sized(*exact, "--exact-lengths", "--kv-cache-volume", volume, "--mrc-shared-prompt-length", 200),
            *("--mrc-chat-history-length", 400, "--mrc-user-input-length", 20, "--mrc-output-length", 8),
            # Each session has two seconds for an answer, so that a slow engine gets as many requests as a fast one.
            *("--mrc-qps", 1, "--mrc-duration", 8),
        )
        late = [-record["scheduled_ms"] for record in run.records if record["scheduled_ms"] < -LATE_MS]
        if run.code != 0 or (len(run.records) >= 8 and not late):
            break
        print(f"        a run is void: {len(run.records)} turns, late by {late} ms", flush=True)
    return run


def check_engines_tokenizer(engine: Engine) -> None:
    """Without --tokenizer, lengths come from the engine's own /tokenize."""
    checks = engine.checks
    user = engine.template_tokens("user")
    exact = ("--exact-lengths", "--ignore-eos")
    for length in (333, 1000):
        run = engine.run("random-prefill", *sized(*exact, "--rp-request-length", length, "--rp-num-requests", 4))
        run.check(f"random-prefill of {length} by /tokenize", 4, 1)
        checks.equal(f"random-prefill of {length} by /tokenize: prompt tokens", run.prompt_tokens(), [length + user] * 4)
        warned = run.warned()
        checks.that(f"random-prefill of {length} by /tokenize: no warning about lengths", "prompt-lengths" not in warned, warned)
    run = tuner(engine, *sized(*exact))
    lengths = {CONTEXT_TOKENS + user}
    checks.equal("tuner, exact by the engine's own tokenizer: prompt tokens", set(run.prompt_tokens()), lengths)


def check_words_of_the_engine(engine: Engine, tokenizer: pathlib.Path) -> None:
    """What is sent with the engine's tokenizer is, byte for byte, what is sent with its file."""
    checks = engine.checks
    permutator = ("--ldp-num-contexts", 3, "--ldp-context-length", 700, "--ldp-num-permutations", 4)
    short = ("--no-warmup", "--psf-context-length", CONTEXT_TOKENS, "--psf-thrash", TIER_GB)
    cases = [("long-doc-permutator", permutator), ("prefix-suffix-tuner", short), ("prefix-suffix-tuner", (*short, "--exact-lengths"))]
    with Recorder(engine.url) as recorder:
        threading.Thread(target=recorder.serve_forever, daemon=True).start()
        behind = Engine(engine.scratch / "words", checks, recorder.url, None)
        for workload, flags in cases:
            name = f"{workload} {'exactly ' if '--exact-lengths' in flags else ''}by the engine's tokenizer"
            sent = []
            for more in [("--tokenizer", tokenizer), ()]:
                run = behind.run(workload, *sized("--model", MODEL, *flags, *more))
                checks.that(f"{name}: succeeds", run.code == 0, run.stderr[-800:])
                sent.append([body for _, _, body in recorder.take()])
            checks.that(f"{name}: the requests are those of the file", sent[0] == sent[1] != [], [len(bodies) for bodies in sent])
        recorder.shutdown()


TUNER = ("prefix-suffix-tuner", "--psf-context-length", CONTEXT_TOKENS, "--psf-thrash", TIER_GB)
POOL = int(TIER_GB * 1.05 * tiny_model.TOKENS_PER_GB / CONTEXT_TOKENS)


def tuner(engine: Engine, *flags: object) -> Run:
    """The same flags with and without a cache server."""
    return engine.run_counted(*TUNER, *flags).check("prefix-suffix-tuner", POOL, 1)


def same_counts(run: Run) -> list[tuple[str, object, object]]:
    """What a run behind a cache says and what the servers say. Pass 1 finds nothing, so both passes together are pass 2."""
    own, external = run.sources["local_cache_hit"], run.sources["external_kv_transfer"]
    said = run.counted()
    work = run.report.get("metrics", {}).get("lmcache_work", {})
    found = tuple(work.get(row, {}).get("measured") for row in ("found_l1", "found_l2"))
    return [
        ("our cached tokens are the engine's own and its external ones", sum(run.cached_tokens()), own + external),
        ("our report says what the engine counted", (said.get("engine_cache"), said.get("external")), (own, external)),
        ("and what the cache server counted", found, (run.sources["l1"], run.sources["l2"])),
    ]


def tuner_behind(engine: Engine, cache: CacheServer, *flags: object) -> Run:
    """Our report reads the counters once, and a busy server may count later: then again, with other prompts and an empty cache."""
    for seed in ((), ("--seed", 1), ("--seed", 2)):
        run = engine.run(*TUNER, "--lmcache-url", cache.http, *flags, *seed)
        counts = same_counts(run)
        if all(seen == expected for _, seen, expected in counts):
            break
        print(f"        a run is void: {counts}", flush=True)
        cache.clear()
    return run.check("prefix-suffix-tuner", POOL, 1)


def show(run: Run) -> None:
    print(f"        counted by the servers over both passes: {json.dumps(run.sources)}")
    print(f"        counted by the servers in pass 2, by our report: {json.dumps(run.counted())}")
    print(f"        cached by the answers of pass 2: {sum(run.cached_tokens())} of {sum(run.prompt_tokens())}", flush=True)


# It compiles and imports much; one that ends meanwhile is noticed at once.
READY_S = 900


def vllm(scratch: pathlib.Path, environment: pathlib.Path, name: str, flags: list, **variables: str) -> Server:
    """Later flags win; `variables` are added to its environment."""
    (port,) = free_ports(1)
    command = [
        *(environment / "bin/vllm", "serve", MODEL, "--load-format", "dummy", "--host", "127.0.0.1"),
        *("--port", port, "--max-model-len", 8192, "--enforce-eager", "--num-gpu-blocks-override", BLOCKS),
        *("--enable-prompt-tokens-details", *flags),
    ]
    env = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # Hashes of prefixes must be the same in every process.
        "PYTHONHASHSEED": "0",
    }
    server = Server(command, f"http://127.0.0.1:{port}/v1/models", scratch / f"{name}.log", READY_S, cwd=scratch, env={**os.environ, **env, **variables})
    server.url = f"http://127.0.0.1:{port}"
    return server


def lmcache(scratch: pathlib.Path) -> CacheServer:
    disk = scratch / "l2"
    disk.mkdir()
    return CacheServer(
        scratch,
        CHUNK_TOKENS,
        *("--prometheus-port", free_ports(1)[0], "--l1-size-gb", f"{TIER_GB:.6f}", "--no-l1-use-lazy"),
        # As the manual asks for the tuner: what is evicted at all is evicted almost entirely.
        *("--eviction-trigger-watermark", "0.80", "--eviction-ratio", "0.99", "--supported-transfer-mode", "lmcache_driven"),
        *("--l2-adapter", json.dumps({"type": "fs", "base_path": str(disk)})),
    )


def connector(rpc_port: int) -> list[str]:
    # Only in this mode does the server know the layout of the KV cache, which `--lmcache-url` asks for.
    extra = {
        "lmcache.mp.host": "tcp://127.0.0.1",
        "lmcache.mp.port": rpc_port,
        "lmcache.mp.mp_transfer_mode": "lmcache_driven",
    }
    config = {"kv_connector": "LMCacheMPConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}
    return ["--kv-transfer-config", json.dumps(config)]


def baseline_1(scratch: pathlib.Path, checks: Tally, environment: pathlib.Path) -> None:
    with vllm(scratch, environment, "vllm-alone", []) as server:
        engine = Engine(scratch / "alone", checks, server.url, None)
        check_workloads(engine, scratch / MODEL)
        check_engines_tokenizer(engine)
        check_words_of_the_engine(engine, scratch / MODEL)
        exact = tuner(engine, *sized("--tokenizer", scratch / MODEL, "--exact-lengths"))
        user = engine.template_tokens("user")
        checks.equal("tuner, exact: prompt tokens", set(exact.prompt_tokens()), {CONTEXT_TOKENS + user})
        run = tuner(engine, *sized("--tokenizer", scratch / MODEL))
        show(run)
        expected = {"computed": sum(run.prompt_tokens()), "engine_cache": 0, "external": 0}
        checks.equal("tuner, baseline 1: pass 2 finds nothing, the pool does not fit", run.counted(), expected)
        checks.equal("tuner, baseline 1: the answers say the same", sum(run.cached_tokens()), 0)
        told = run.explained("cause")
        checks.that("tuner, baseline 1: the report says that HBM overflowed", "HBM overflowed" in told, told)
        answer = engine.run("random-prefill", *sized("--model", "another", "--rp-num-requests", 1))
        checks.that("a model that is not served is an error", answer.code == 1, answer.code)


def baseline_2(scratch: pathlib.Path, checks: Tally, environment: pathlib.Path) -> None:
    cache = lmcache(scratch)
    behind = vllm(scratch, environment, "vllm-lmcache", connector(cache.rpc_port))
    with cache, behind as server:
        engine = Engine(scratch / "behind", checks, server.url, cache.http)
        run = tuner_behind(engine, cache, "--tokenizer", scratch / MODEL)
        show(run)
        per_gb = run.summary["config"].get("tokens_per_gb_kvcache")
        checks.equal("--lmcache-url resolves tokens per GB", per_gb, tiny_model.TOKENS_PER_GB)
        prefix_chunks = int(CONTEXT_TOKENS * 0.8) // CHUNK_TOKENS * CHUNK_TOKENS
        cached = run.cached_tokens()
        found = cached.count(prefix_chunks)
        checks.that("tuner, baseline 2: pass 2 finds nearly every prefix", found > 0.8 * len(cached) > 0, cached)
        for name, seen, expected in same_counts(run):
            checks.equal(f"tuner, baseline 2: {name}", seen, expected)
        # Stores hold on to blocks of the engine, and some of these may still be there when their prefix comes again: only what
        # is missing is fetched from the cache behind.
        own, external = run.sources["local_cache_hit"], run.sources["external_kv_transfer"]
        tiers = run.sources["l1"] + run.sources["l2"]
        checks.that("tuner, baseline 2: the cache server found them", 0 < external <= tiers <= own + external, run.sources)
        checks.that("tuner, baseline 2: most come from the disk", run.sources["l2"] > external / 2 > 0, run.sources)
        told = run.explained("overflowed")
        checks.that("tuner, baseline 2: the report says what overflowed", "HBM and L1 overflowed" in told, told)
        volume = 4 * 1000 / tiny_model.TOKENS_PER_GB + 1e-9
        flags = ("--kv-cache-volume", volume, "--ldqa-document-length", 1000, "--ldqa-query-per-document", 1)
        again = engine.run("long-doc-qa", "--lmcache-url", cache.http, "--ignore-eos", "--ldqa-max-output-length", 2, *flags)
        again.check("long-doc-qa behind LMCache", 4, 2)


def main(scratch: pathlib.Path, environment: pathlib.Path) -> None:
    checks = Tally()
    tiny_model.write(scratch / MODEL)
    for baseline in (baseline_1, baseline_2):
        try:
            baseline(scratch, checks, environment)
        except Exception:
            checks.that(f"the stack of {baseline.__name__.replace('_', ' ')} works", False, traceback.format_exc())
    checks.end()


if __name__ == "__main__":
    main(*(pathlib.Path(argument) for argument in sys.argv[1:3]))
