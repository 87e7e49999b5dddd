"""Checks the ledger of prompt tokens, and the hits that are expected, on a real vLLM with a real LMCache server behind it.

Usage: python -m interop.ledger SCRATCH VLLM_ENVIRONMENT

Each series has servers of its own. In it are runs whose start is known, as the servers are new or `--clear-cache` emptied them, and
runs that come after others, of which only an interval can be expected. Prompts are never used for two of the former, as L2 keeps them.
"""

import contextlib
import json
import pathlib
import sys
import traceback

from interop import ledger_checks as check
from interop import tiny_model
from interop.engine_stack import BLOCK_TOKENS, connector, vllm
from interop.ledger_prompts import Prompts, answered_by, paced, with_question
from interop.ledger_run import CHUNK_TOKENS, MODEL, Run, Stack
from lib.checks import Tally
from lib.lmcache import CacheServer
from lib.servers import free_ports

PER_GB = tiny_model.TOKENS_PER_GB
LARGE_BLOCKS, SMALL_BLOCKS = 512, 66
LARGE_L1_GB, SMALL_L1_GB = 1, 24 / 1024
# At multiples of the blocks of 128 and the chunks of 256, and one token beside.
EDGES = [length + beside for length in (128, 256, 384, 512, 768) for beside in (-1, 0, 1)]
CLEAR = "--clear-cache"


class Series:
    """The servers of a series while they run, and prompts for them."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.prompts = stack, Prompts(stack.template_tokens())

    def send(self, name: str, prompts: list[dict], *flags: object, in_flight: int = 1, allowed: tuple = ()) -> Run:
        return check.every(self.stack.send(name, prompts, in_flight, *flags), len(prompts), allowed)

    def workload(self, name: str, workload: str, *flags: object, code: int = 0) -> Run:
        more = ("--ignore-eos", "--tokens-per-gb-kvcache", PER_GB, *flags)
        return check.every(self.stack.run(name, "--workload", workload, *more), code=code)

    def long_doc_qa(self, name: str, documents: int, in_flight: int, *flags: object, code: int = 0) -> Run:
        """The warmup sends every document, and the measured phase asks for each twice, one after the other."""
        sizes = ("--kv-cache-volume", documents * 2000 / PER_GB + 1e-9, "--ldqa-document-length", 2000)
        order = ("--ldqa-query-per-document", 2, "--ldqa-shuffle-policy", "tile", "--ldqa-max-output-length", 4)
        window = ("--ldqa-num-inflight-requests", in_flight)
        return self.workload(name, "long-doc-qa", *sizes, *order, *window, *flags, code=code)

    def chat(self, name: str, *flags: object) -> Run:
        sizes = ("--kv-cache-volume", 3 * 1500 / PER_GB + 1e-9, "--mrc-shared-prompt-length", 700)
        turns = ("--mrc-chat-history-length", 800, "--mrc-user-input-length", 60, "--mrc-output-length", 60)
        return self.workload(name, "multi-round-chat", *sizes, *turns, "--mrc-qps", 2, "--mrc-duration", 6, *flags)


@contextlib.contextmanager
def servers(part: "Part", name: str, blocks: int, l1_gb: float, *flags: object, variables: dict | None = None):
    """A series on new servers. `flags` are LMCache's."""
    policy = ("--eviction-trigger-watermark", "0.80", "--eviction-ratio", "0.20", "--supported-transfer-mode", "lmcache_driven")
    sizes = ("--l1-size-gb", f"{l1_gb:.7f}", "--no-l1-use-lazy", "--prometheus-port", free_ports(1)[0])
    cache = CacheServer(part.scratch, CHUNK_TOKENS, *sizes, *policy, *flags)
    behind = ("--num-gpu-blocks-override", blocks, *connector(cache.rpc_port))
    variables = {"VLLM_SERVER_DEV_MODE": "1"} if variables is None else variables
    with cache, vllm(part.scratch, part.environment, f"vllm-{name}", behind, **variables) as engine:
        yield Series(Stack(part.scratch, part.checks, name, engine.url, cache.http))


class Part:
    def __init__(self, scratch: pathlib.Path, environment: pathlib.Path, checks: Tally) -> None:
        self.scratch, self.environment, self.checks = scratch, environment, checks
        self.disk = scratch / "l2"
        self.disk.mkdir()
        tiny_model.write(scratch / MODEL)

    def on_disk(self) -> tuple:
        return ("--l2-adapter", json.dumps({"type": "fs", "base_path": str(self.disk)}))

    def hbm_large(self) -> None:
        """Everything fits in HBM."""
        with servers(self, "hbm-large", LARGE_BLOCKS, LARGE_L1_GB) as series:
            documents = series.prompts.documents("large", range(6))
            edges = [series.prompts.of_length(("edge", length), length) for length in EDGES]
            cold = series.send("cold", documents)
            check.exact(cold)
            check.served(cold, computed=cold.ledger("prompt"), hbm=0, lmcache=0)
            warm = series.send("warm repeat", documents)
            check.because(warm, "may not have been empty")
            check.served(warm, lmcache=0, found_l1=42 * CHUNK_TOKENS)
            series.send("edge lengths, cold", edges)
            series.send("edge lengths, warm", edges)
            together = [*documents, *documents, *edges, *edges]
            check.exact(series.send("all of these in one run", together, CLEAR))
            again = series.send("cleared after a warm run", documents, CLEAR)
            check.exact(again)
            check.served(again, hbm=0, lmcache=0)
            check.equal_warnings(again, "not-cold", 0)
            same = [series.prompts.document("same")] * 4
            series.send("4 in flight, the same new document", same, CLEAR, in_flight=4)
            check.exact(series.long_doc_qa("long-doc-qa in HBM", 6, 1, CLEAR))
            check.exact(series.long_doc_qa("long-doc-qa in HBM, 3 in flight", 6, 3, CLEAR))
            check.exact(series.chat("chat", CLEAR))
            # HBM serves all of it.
            missed = series.long_doc_qa("long-doc-qa, LMCache is required", 6, 1, CLEAR, "--require-hits", "lmcache>=80%", code=3)
            text = missed.stderr.strip()
            self.checks.that("hbm-large: a share that is missed is named", "--require-hits lmcache>=80%" in text, text[-400:])

    def hbm_small(self) -> None:
        """HBM holds four documents, and L1 all."""
        with servers(self, "hbm-small", SMALL_BLOCKS, LARGE_L1_GB) as series:
            documents = series.prompts.documents("small", range(8))
            questions = [with_question(document, number) for number, document in enumerate(documents[:6])]
            new = series.prompts.documents("new", range(4))
            third_new = [x for pair in range(4) for x in (documents[2 * pair], documents[2 * pair + 1], new[pair])]
            same = [series.prompts.document("same")] * 4
            check.exact(series.send("cold", documents))
            series.send("HBM too small, in order", documents)
            series.send("in reverse order", documents[::-1])
            series.send("document and question", questions)
            series.send("8 in flight, warm", documents, in_flight=8)
            series.send("8 in flight, a third new", third_new, in_flight=8)
            series.send("4 in flight, the same new document", same, in_flight=4)
            together = [*documents, *documents, *documents[::-1], *questions]
            check.exact(series.send("one in flight, all in one run", together, CLEAR))
            for in_flight in (8, 4, 2):
                together = [*documents, *documents, *third_new, *same]
                series.send(f"{in_flight} in flight, all in one run", together, CLEAR, in_flight=in_flight)
            met = series.long_doc_qa("long-doc-qa, HBM too small", 8, 1, CLEAR, "--require-hits", "lmcache>=80%", "--require-ledger")
            check.exact(met)
            series.long_doc_qa("long-doc-qa, HBM too small, 3 in flight", 8, 3, CLEAR)
            check.exact(series.chat("chat", CLEAR))
            # The same servers, of which only the engine is known.
            alone = Stack(self.scratch, self.checks, "hbm-small alone", series.stack.url, None)
            alone.send("documents", documents, 1)
            check.alone(alone.send("repeat", documents, 1), len(documents))
            self.staircase(series)

    def staircase(self, series: Series) -> None:
        """The blocks of HBM but the null block, and an L1 that is larger than the largest working set of this budget."""
        run = series.stack.staircase("staircase", "--budget", 3, "--seed", 7)
        usable, held = run.section("kv_usable"), (SMALL_BLOCKS - 1) * BLOCK_TOKENS
        check.near(run, "HBM", usable.get("hbm_tokens"), held, 0.05)
        self.checks.equal("staircase: there is no L2", usable.get("l2_found"), "none, as the servers say")
        lines = run.section("kv_break_even")
        measured = [source for source in ("computed", "hbm", "l1") if (lines.get(source) or {}).get("per_token_us") is not None]
        self.checks.equal("staircase: lines of TTFT", measured, ["computed", "hbm", "l1"])
        print(f"        {usable}\n        {lines}", flush=True)

    def l1_small(self) -> None:
        """L1 of 48 chunks, which evicts about once a second, and a folder behind it."""
        with servers(self, "l1-small-l2", SMALL_BLOCKS, SMALL_L1_GB, *self.on_disk()) as series:
            documents = series.prompts.documents("kept", range(12))
            series.send("cold", documents)
            series.send("repeat", documents)
            series.send("again", documents)
            series.send("three tiers, 4-token answers", three_tiers(documents))
            new = series.prompts.documents("kept, new", range(6))
            mixed = [x for pair in range(5) for x in (documents[2 * pair], documents[2 * pair + 1], new[pair])]
            series.send("three tiers, 4 in flight, 6 new", [*mixed, new[5]], in_flight=4)
            left = series.send("what L2 keeps is not cold", documents, CLEAR, allowed=("not-cold",))
            check.equal_warnings(left, "not-cold", 1)
            for name, change in (("in a burst", list), ("paced", paced)):
                fresh = series.prompts.documents(name, range(12))
                prompts = change([*fresh, *fresh, *three_tiers(fresh)])
                run = series.send(f"all in one run, {name}", prompts, CLEAR)
                check.because(run, "L1 evicts")
            fresh = series.prompts.documents("together", range(12))
            series.send("all in one run, 4 in flight", [*fresh, *fresh, *fresh], CLEAR, in_flight=4)

    def restarted(self) -> None:
        """New servers on the folder of the ones before, which keep in L1 what they load. This vLLM refuses to be emptied."""
        retain = ("--l2-prefetch-policy", "retain")
        with servers(self, "kept-l2", SMALL_BLOCKS, SMALL_L1_GB, *self.on_disk(), *retain, variables={}) as series:
            documents = series.prompts.documents("kept", range(12))[:4]
            earlier = series.send("left from earlier runs", documents)
            check.served(earlier, hbm=0, found_l1=0)
            texts = " ".join(earlier.notes("assumption"))
            self.checks.that("kept-l2: says that earlier runs left it", "left from earlier runs" in texts, texts)
            series.send("others", series.prompts.documents("others", range(4)))
            series.send("the same again, retained", documents)
            refused = series.stack.send("clearing", documents, 1, CLEAR)
            words = (series.stack.url, "VLLM_SERVER_DEV_MODE")
            said = refused.code == 1 and all(word in refused.stderr for word in words)
            self.checks.that("kept-l2: clearing is refused", said, refused.fail_text())
            self.checks.equal("kept-l2: nothing is sent then", refused.counted("vllm:prompt_tokens_total"), 0)


def three_tiers(documents: list[dict]) -> list[dict]:
    questions = [with_question(document, number) for number, document in enumerate(documents[:6])]
    return answered_by([*documents[:4], *questions], 4)


def main(scratch: pathlib.Path, environment: pathlib.Path) -> None:
    checks = Tally()
    part = Part(scratch, environment, checks)
    for series in (part.hbm_large, part.hbm_small, part.l1_small, part.restarted):
        try:
            series()
        except Exception:
            checks.that(f"the series {series.__name__.replace('_', ' ')} runs", False, traceback.format_exc())
    checks.end()


if __name__ == "__main__":
    main(*(pathlib.Path(argument) for argument in sys.argv[1:3]))
