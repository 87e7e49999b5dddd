"""One run of our binary on the real stack, what the servers' own pages say of it, and the comparison of both."""

import json
import pathlib
import re
import time

from interop.ledger_prompts import write
from lib import native
from lib.checks import Tally
from lib.servers import get, post

MODEL = "tiny"
CHUNK_TOKENS = 256
SETTLE_S = 20
# Rows of `expected_hits`, and what names them in the table that is printed.
TIERS = {"computed": "computed", "hbm": "HBM", "lmcache_l1": "L1", "lmcache_l2": "L2"}
SAMPLE = re.compile(r"^(?P<name>[a-z_0-9:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(source|during|reason)="([^"]*)"')
# These move without any request.
MOVING = ("ticks", "triggered", "drain_lag", "queue_depth")


def page(url: str) -> dict[str, float]:
    """Sums of counters over their labels, except those that tell sources and causes apart: `name/value`."""
    found: dict[str, float] = {}
    for line in get(f"{url}/metrics", timeout=60).splitlines():
        sample = SAMPLE.match(line)
        if not sample or not sample["name"].startswith(("vllm:", "lmcache_mp_")) or not sample["name"].endswith("_total"):
            continue
        if any(word in sample["name"] for word in MOVING):
            continue
        label = LABEL.search(sample["labels"] or "")
        name = f"{sample['name']}/{label[2]}" if label else sample["name"]
        found[name] = found.get(name, 0) + float(sample["value"])
    return found


class Stack:
    """A running vLLM and, if there is one, the LMCache server behind it."""

    def __init__(self, scratch: pathlib.Path, checks: Tally, name: str, url: str, cache_url: str | None) -> None:
        self.checks, self.name, self.url, self.cache_url = checks, name, url, cache_url
        self.scratch = scratch / name
        self.scratch.mkdir()
        self.runs = 0

    def template_tokens(self) -> int:
        messages = [{"role": "user", "content": " baba" * 3}]
        return post(f"{self.url}/tokenize", {"model": MODEL, "messages": messages})["count"] - 3

    def counters(self) -> dict[str, float]:
        return {**page(self.url), **(page(self.cache_url) if self.cache_url else {})}

    def settled(self) -> dict[str, float]:
        """Once two reads agree and nothing is on its way to L2."""
        found, deadline = self.counters(), time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            time.sleep(0.3)
            before, found = found, self.counters()
            if found == before and not self.is_storing():
                break
        return found

    def is_storing(self) -> bool:
        if not self.cache_url:
            return False
        stores = json.loads(get(f"{self.cache_url}/status", timeout=60)).get("storage_manager", {}).get("store_controllers", {})
        return any(store.get("pending_keys_count") or store.get("in_flight_task_count") for store in stores.values())

    def run(self, name: str, *flags: object, records: bool = True) -> "Run":
        self.runs += 1
        return Run(self, name, self.scratch / f"{self.runs}", [str(flag) for flag in flags], records)

    def send(self, name: str, prompts: list[dict], in_flight: int, *flags: object) -> "Run":
        """A run of prompts in the order given, without warmup."""
        file = write(self.scratch / f"{self.runs}.jsonl", prompts)
        in_flight_flags = ("--custom-num-inflight-requests", in_flight)
        return self.run(name, "--workload", "custom", "--prompts", file, "--ignore-eos", *in_flight_flags, *flags)


    def staircase(self, name: str, *flags: object) -> "Run":
        return self.run(name, "--staircase", *flags, records=False)


class Run:
    """One run of our binary: its report, its records, and what the servers counted meanwhile."""

    def __init__(self, stack: Stack, name: str, folder: pathlib.Path, flags: list[str], with_records: bool = True) -> None:
        folder.mkdir()
        records = folder / "requests.jsonl"
        recording = ["--requests-jsonl", str(records)] if with_records else []
        behind = ["--lmcache-url", stack.cache_url] if stack.cache_url else []
        command = [
            *(native.binary(), "engine", "--engine-url", stack.url, "--no-interactive", "--no-csv", "--no-certificate"),
            *("--output-dir", str(folder), "--format", "json", *recording, *behind, *flags),
        ]
        self.stack, self.checks, self.name = stack, stack.checks, f"{stack.name}, {name}"
        before = stack.settled()
        done = native.run(command, limit_s=300)
        after = stack.settled()
        self.code, self.stderr, self.wall_s = done.code, done.stderr, done.wall_s
        self.grown = {counter: after[counter] - before.get(counter, 0) for counter in after}
        self.metrics = done.metrics
        (folder / "report.json").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)
        self.records = [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []

    def section(self, name: str) -> dict:
        return self.metrics.get(name) or {}

    def warned(self) -> list[str]:
        return [row["code"] for row in self.metrics.get("warnings", [])]

    def notes(self, key: str) -> list[str]:
        """Sentences of `hits_explained`."""
        return [note["text"] for note in self.metrics.get("hits_explained", []) if note["code"] == key]

    def ledger(self, row: str) -> int | None:
        """A row of the ledger or of LMCache's work in all phases; absent where one of them has no exact count."""
        for section in ("token_ledger", "lmcache_work"):
            cells = self.section(section).get(row)
            if cells:
                counts = [cells.get(phase) for phase in ("warmup", "measured") if phase in cells]
                return None if None in counts else sum(counts)
        return None

    def counted(self, *names: str) -> int:
        return int(sum(self.grown.get(name, 0) for name in names))

    def predicted(self) -> dict[tuple[str, str], dict]:
        """Rows of `expected_hits` by phase and tier."""
        rows = self.section("expected_hits")
        phases = ("warmup", "measured")
        return {(phase, tier): rows[f"{phase}_{tier}"] for phase in phases for tier in TIERS if f"{phase}_{tier}" in rows}

    def show(self) -> None:
        """What was expected and seen, as a line for each phase."""
        rows = self.predicted()
        for phase in dict.fromkeys(phase for phase, _ in rows):
            cells = []
            for tier, label in TIERS.items():
                row = rows[phase, tier]
                least, most = row["expected_min"], row["expected_max"]
                interval = f"{least}" if least == most else f"{least}..{most} ({row['expected']})"
                cells.append(f"{label} {interval} seen {row['seen']}")
            print(f"        {self.name}, {phase}: {'; '.join(cells)}", flush=True)

    def fail_text(self) -> str:
        return f"exit status {self.code}: {self.stderr[-600:]}"
