#!/usr/bin/env python3
"""Two builds of the engine benchmark against the same mock, in turns: CPU per event flat out, and TTFT error.

Usage: engine-ab.py BEFORE AFTER [--flat 1,64,1000] [--truth 20/5:64,20/5:256] [--rounds N] [--out FILE]

BEFORE and AFTER are binaries; the mock is BEFORE's for both. A ratio is AFTER's median over BEFORE's. BEFORE runs a second time
in every round as a control: its ratio is what noise alone makes of one. The three change places from round to round, so that a
machine that slows down meets all alike. How a figure is made is what engine-floor.py (flat out) and engine-truth.py (a cell of
it) say.
"""
import argparse
import importlib.util
import os
import platform
import shutil
import statistics
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def script(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


floor, truth = script("engine-floor"), script("engine-truth")


def flat_out(client, mock, streams):
    """CPU per token event in us."""
    requests, tokens = floor.FLAT_OUT[streams]
    floor.BINARY = mock
    process, url = floor.mock("--flat-out", "--ttft-ms", "1")
    floor.BINARY = client
    try:
        metrics = floor.report(floor.command(url, streams, requests, tokens, 40))
    finally:
        process.terminate()
        process.wait()
    return metrics["client"]["cpu_us_per_event"]


def ttft_error(client, mock, cell):
    """Mean distance of TTFT from the mock's log in ms."""
    directory = tempfile.mkdtemp(prefix="lmcache-bench-ab-")
    truth.BINARY = mock
    process, url, log = truth.mock(cell, directory)
    truth.BINARY = client
    try:
        got, key = truth.run_ours(url, directory, cell)
        true = truth.read_truth(log, cell)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)
    errors = [abs(got[line[key]][0] - (line["first_token_ns"] - line["arrival_ns"]) / 1e6) for line in true if line[key] in got]
    return statistics.mean(errors)


def compare(name, unit, measure, before, after, rounds):
    slots = {"before": before, "after": after, "again": before}
    values = {slot: [] for slot in slots}
    names = list(slots)
    for number in range(rounds):
        first = number % len(names)
        order = names[first:] + names[:first]
        for slot in order if number % 2 == 0 else reversed(order):
            values[slot].append(measure(slots[slot], before))
    medians = {slot: statistics.median(values[slot]) for slot in slots}
    spread = {slot: f"{min(values[slot]):.3g} to {max(values[slot]):.3g}" for slot in slots}

    def ratios(slot):
        pairs = [b / a for a, b in zip(values["before"], values[slot])]
        return f"{medians[slot] / medians['before']:.3f} | {statistics.median(pairs):.3f}"

    row = (f"| {name} | {unit} | {medians['before']:.3f} | {spread['before']} | {medians['after']:.3f} | {spread['after']} | "
           f"{ratios('after')} | {ratios('again')} |")
    print(row, flush=True)
    return row


HEADER = ["| figure | unit | before | spread | after | spread | ratio of medians | median of paired ratios | "
          "before again: ratio of medians | paired |", "|---|---|---|---|---|---|---|---|---|---|"]


def save(path, title, made_by, note, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"# {title}\n\nMade by {made_by}; Linux {platform.release()}, {os.cpu_count()} cores, {note}\n\n")
        file.write("\n".join(rows) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--flat", default="1,64,256,1000")
    parser.add_argument("--truth", default="20/5:64,20/5:256")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    args = parser.parse_args()
    rows = list(HEADER)
    print("\n".join(rows))
    for streams in filter(None, args.flat.split(",")):
        measure = lambda client, mock: flat_out(client, mock, int(streams))
        rows.append(compare(f"CPU per event flat out, {streams} streams", "us", measure, args.before, args.after, args.rounds))
    cells = {cell.name: cell for cell in truth.cells()}
    for name in filter(None, args.truth.split(",")):
        measure = lambda client, mock: ttft_error(client, mock, cells[name])
        rows.append(compare(f"TTFT error, mean, {name}", "ms", measure, args.before, args.after, args.rounds))
    if args.out:
        save(args.out, "Two builds of the engine benchmark in one run", f"`scripts/engine-ab.py`, {args.rounds} rounds",
             "mock and client share them. The mock is the same for both.", rows)


if __name__ == "__main__":
    main()
