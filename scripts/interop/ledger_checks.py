"""What must hold of every run of the ledger's part, and of those whose state is known."""

from interop.ledger_run import Run

ENGINE = "vllm:prompt_tokens_by_source_total/"
OFF = {"ledger-off", "hits-differ", "ledger-unsettled", "tiers-unknown", "events-dropped", "other-clients", "shared-cache"}


def sources(run: Run) -> None:
    """The ledger against sums of the servers' pages that were read beside it."""
    computed, hbm, external = (run.counted(ENGINE + name) for name in ("local_compute", "local_cache_hit", "external_kv_transfer"))
    expected = {
        "prompt": run.counted("vllm:prompt_tokens_total"),
        "computed": computed,
        "hbm": hbm,
        "unexplained": 0,
    }
    if run.stack.cache_url:
        written = run.counted("lmcache_mp_l1_write_chunks_total") - run.counted("lmcache_mp_l2_prefetch_load_completed_chunks_total")
        expected |= {
            "lmcache": external,
            "looked_up": run.counted("lmcache_mp_lookup_requested_tokens_total"),
            "chunks_loaded": run.counted("lmcache_mp_num_chunks_loaded_total"),
            "chunks_stored": written,
            "chunks_refused": run.counted("lmcache_mp_l1_allocation_failure_chunks_total/l1_store"),
            "loads_refused": run.counted("lmcache_mp_l2_prefetch_failure_chunks_total/l1_oom"),
            "found_l1": run.counted("lmcache_mp_lookup_hit_l1_tokens_total"),
            "found_l2": run.counted("lmcache_mp_lookup_hit_l2_tokens_total"),
            "lookups": run.counted("lmcache_mp_lookups_requests_total"),
        }
    seen = {row: run.ledger(row) for row in expected}
    run.checks.equal(f"{run.name}: rows are what the servers' pages say", seen, expected)
    run.checks.equal(f"{run.name}: sources add up to the prompts", computed + hbm + external, expected["prompt"])
    if run.stack.cache_url:
        split(run, external)


def split(run: Run, external: int) -> None:
    """L1 and L2 as far as the counters of hits bound them, phase by phase."""
    cells = run.section("token_ledger")
    bounds = {}
    for tier in ("lmcache_l1", "lmcache_l2"):
        for bound, name in (("min", "least"), ("max", "most")):
            rows = [cells.get(tier, {}), cells.get(f"{tier}_{bound}", {})]
            phases = [phase for phase in ("warmup", "measured") if phase in cells["prompt"]]
            counts = [next((row[phase] for row in rows if row.get(phase) is not None), None) for phase in phases]
            bounds[tier, name] = None if None in counts else sum(counts)
    if None in bounds.values():
        run.checks.that(f"{run.name}: L1 and L2 are told apart", external == 0, bounds)
        return
    l1, l2 = run.counted("lmcache_mp_lookup_hit_l1_tokens_total"), run.counted("lmcache_mp_lookup_hit_l2_tokens_total")
    holds = (
        bounds["lmcache_l1", "least"] + bounds["lmcache_l2", "most"] == external
        and bounds["lmcache_l1", "most"] + bounds["lmcache_l2", "least"] == external
        and bounds["lmcache_l1", "most"] <= l1
        and bounds["lmcache_l2", "most"] <= l2
    )
    run.checks.that(f"{run.name}: L1 and L2 are parts of what LMCache gave", holds, (bounds, external, l1, l2))


def every(run: Run, requests: int | None = None, allowed: tuple = (), code: int = 0) -> Run:
    """Checks of each run. `allowed` are codes of warnings that it may have."""
    checks = run.checks
    run.show()
    checks.that(f"{run.name}: ends with {code}", run.code == code, run.fail_text())
    if run.code != code or not run.metrics:
        return run
    if requests is not None:
        checks.equal(f"{run.name}: requests", len(run.records), requests)
    warned = [code for code in run.warned() if code in OFF and code not in allowed]
    checks.that(f"{run.name}: no warning about the ledger", not warned, warned_texts(run))
    asked = sum(record["prompt_tokens"] for record in run.records)
    checks.equal(f"{run.name}: prompts are those of our answers", run.section("token_ledger")["prompt"]["measured"], asked)
    sources(run)
    bounds(run)
    return run


def warned_texts(run: Run) -> list:
    return [warning for warning in run.metrics.get("warnings", []) if warning["code"] in OFF]


def bounds(run: Run) -> None:
    """What was seen lies in the interval, and an interval has a reason."""
    rows = run.predicted()
    outside = {
        key: row
        for key, row in rows.items()
        if row["seen"] is not None and not row["expected_min"] <= row["seen"] <= row["expected_max"]
    }
    run.checks.that(f"{run.name}: what was seen is expected", rows and not outside, outside or "no prediction")
    is_open = any(row["expected_min"] != row["expected_max"] for row in rows.values())
    run.checks.that(f"{run.name}: an interval has a reason", not is_open or run.notes("interval"), rows)


def alone(run: Run, requests: int) -> None:
    """A run that knows the engine only: what LMCache gave is of some cache, of which nothing can be expected."""
    run.checks.that(f"{run.name}: ends with 0", run.code == 0, run.fail_text())
    run.checks.equal(f"{run.name}: requests", len(run.records), requests)
    sources(run)
    external = run.counted(ENGINE + "external_kv_transfer")
    run.checks.equal(f"{run.name}: what LMCache gave", (external > 0, run.ledger("external")), (True, external))
    texts = run.notes("not-predicted")
    run.checks.that(f"{run.name}: says that it is not known", any("nothing is known of it" in text for text in texts), texts)


def near(run: Run, what: str, found: float | None, given: float, share: float) -> None:
    run.checks.that(f"{run.name}: {what} within {share:.0%}", found is not None and abs(found / given - 1) <= share, (found, given))


def exact(run: Run, *rows: str) -> Run:
    """Each figure, or those named, is predicted to the token, and each request too."""
    wrong = {
        key: row
        for key, row in run.predicted().items()
        if (not rows or key[1] in rows) and not row["expected_min"] == row["expected_max"] == row["seen"]
    }
    run.checks.that(f"{run.name}: predicted to the token", run.predicted() and not wrong, wrong)
    if not rows:
        pairs = [(record["expected_cached_tokens"], record["cached_tokens"]) for record in run.records]
        run.checks.that(f"{run.name}: each request too", all(said == seen for said, seen in pairs), pairs)
    return run


def because(run: Run, *words: str) -> None:
    """The reasons of intervals have these words."""
    text = " ".join(run.notes("interval"))
    run.checks.that(f"{run.name}: says why it is an interval", all(word in text for word in words), text)


def equal_warnings(run: Run, code: str, count: int) -> None:
    run.checks.equal(f"{run.name}: warnings {code}", run.warned().count(code), count)


def served(run: Run, **tokens: int) -> None:
    """Rows of the ledger, all phases together."""
    run.checks.equal(f"{run.name}: served", {row: run.ledger(row) for row in tokens}, tokens)
