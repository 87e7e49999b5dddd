"""Runs prefix-suffix-tuner with the same flags against mock engines with more and more cache tiers, and prints the results.

    scripts/demo.sh BINARY

The pool of prompts is 5 % larger than the tier that should overflow, so every second pass misses it and is served by the next
tier. TTFT is the benchmark's own; the column beside it is from the mock's log.
"""

import json
import pathlib
import statistics
import sys
import tempfile

from lib import native

TOKENS_PER_GB = 20_000
# 16 chunks of 256 tokens: tokens beyond the last full chunk are not kept in DRAM, and with many of them a pool that is only
# 5 % larger than DRAM would fit.
CONTEXT_TOKENS = 4096
THRASH_GB = 8
# Microseconds of prefill per prompt token: computed, from DRAM, from disk.
COSTS = (
    *("--ttft-ms", "5", "--ttft-us-per-uncached-token", "15", "--dram-us-per-token", "0.5", "--disk-us-per-token", "2.5"),
)

# Cache tiers, flags of the mock engine, and what to expect of the second pass.
TIERS = [
    ("HBM only", ("--hbm-gb", "8"), "every prompt is computed again"),
    ("+ DRAM", ("--hbm-gb", "8", "--dram-gb", "100"), "prefixes come from DRAM"),
    ("+ disk, DRAM overflows", ("--hbm-gb", "1", "--dram-gb", "8", "--disk-gb", "1000"), "prefixes come from disk"),
    (
        "+ blended suffixes",
        ("--hbm-gb", "1", "--dram-gb", "8", "--disk-gb", "1000", "--blend"),
        "suffixes behind other prefixes are found too",
    ),
]


def measure(binary: str, url: str, folder: pathlib.Path) -> dict:
    """One run of the workload; the same flags every time."""
    command = [
        *(binary, "engine", "--engine-url", url, "--lmcache-url", url, "--workload", "prefix-suffix-tuner"),
        *("--psf-context-length", CONTEXT_TOKENS, "--psf-thrash", THRASH_GB, "--no-interactive", "--quiet"),
        *("--output-dir", folder, "--no-csv", "--json", "--no-certificate"),
    ]
    native.run(command).expect(0)
    return json.loads((folder / "bench_summary.json").read_text())["results"]


def second_pass(log: pathlib.Path, requests: int) -> list[dict]:
    served = [json.loads(line) for line in log.read_text().splitlines()]
    return [record for record in served if record["path"] == "/v1/chat/completions"][-requests:]


def main(binary: str) -> None:
    requests = int(THRASH_GB * 1.05 * TOKENS_PER_GB / CONTEXT_TOKENS)
    print(f"prefix-suffix-tuner: {requests} prompts of {CONTEXT_TOKENS} tokens, sent twice. This is the second pass.\n")
    print(f"{'behind the engine':<24}{'TTFT ms':>9}{'truth ms':>10}{'HBM':>7}{'DRAM':>7}{'disk':>7}{'computed':>10}")
    for name, flags, expected in TIERS:
        with tempfile.TemporaryDirectory(prefix="lmcache-bench-demo-") as scratch:
            log = pathlib.Path(scratch) / "log.jsonl"
            common = ["--log", log, "--tokens-per-gb", TOKENS_PER_GB, *COSTS]
            with native.mock("engine", *common, *flags, program=binary) as (url,):
                results = measure(binary, url, pathlib.Path(scratch))
            records = second_pass(log, requests)
        truth = statistics.mean((record["first_token_ns"] - record["arrival_ns"]) / 1e6 for record in records)
        tokens = sum(record["prompt_tokens"] for record in records)
        sums = (sum(record["prompt_sources"][tier] for record in records) for tier in ("hbm", "dram", "disk", "computed"))
        hbm, dram, disk, computed = (f"{sum / tokens:.0%}" for sum in sums)
        print(
            f"{name:<24}{results['mean_ttft_ms']:>9.1f}{truth:>10.1f}{hbm:>7}{dram:>7}{disk:>7}{computed:>10}   {expected}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: scripts/demo.sh BINARY")
    main(sys.argv[1])
