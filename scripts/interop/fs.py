"""Proves that our `fs` adapter and LMCache's share one on-disk format, in both directions. Run by scripts/interop.sh."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import sys

from lib import checks, native, reference
from lib.checks import require

SEED = 7
ROUNDS = 2  # one warm-up and one measured round, the default of both tools


@dataclasses.dataclass(frozen=True)
class Case:
    """One set of flags and adapter fields, given alike to both tools."""

    name: str
    num_keys: int
    in_flight: int
    size_kib: int
    align: int = 1
    fields: dict = dataclasses.field(default_factory=dict)

    @property
    def keys_per_round(self) -> int:
        return self.num_keys * self.in_flight

    @property
    def total_keys(self) -> int:
        return self.keys_per_round * ROUNDS

    def spec(self, base_path: pathlib.Path) -> dict:
        return {"type": "fs", "base_path": str(base_path), **self.fields}

    def flags(self) -> list:
        return [
            *("--num-keys", self.num_keys, "--in-flight", self.in_flight, "--data-size-kb", self.size_kib),
            *("--l1-align-bytes", self.align, "--rounds", ROUNDS - 1, "--warmup-rounds", 1),
        ]

    def ours(self, base_path: pathlib.Path, *flags: object) -> native.Run:
        return native.l2(self.spec(base_path), *self.flags(), "--seed", SEED, *flags)

    @contextlib.contextmanager
    def theirs(self, base_path: pathlib.Path):
        adapter = reference.Reference(
            self.spec(base_path), self.num_keys, self.in_flight, self.size_kib * 1024, self.align
        )
        try:
            yield adapter
        finally:
            adapter.close()


CASES = [
    Case("buffered", 8, 2, 64),
    Case("one key of 1 KiB", 1, 1, 1),
    Case("300 keys in a submit", 300, 1, 4),
    Case("relative_tmp_dir", 5, 3, 100, fields={"relative_tmp_dir": "tmp"}),
    Case("read_ahead_size", 4, 2, 128, fields={"read_ahead_size": 65536}),
    Case("O_DIRECT", 16, 4, 256, align=4096, fields={"use_odirect": True}),
    Case("O_DIRECT with relative_tmp_dir", 8, 1, 1024, 4096, {"use_odirect": True, "relative_tmp_dir": "tmp"}),
    Case("O_DIRECT asked for at a size it cannot have", 4, 2, 6, fields={"use_odirect": True}),
]


def objects_in(base_path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(base_path.glob("*.data"))


def listing(base_path: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Everything below a directory: name -> (mode, size), directories with size 0."""
    return {
        str(path.relative_to(base_path)): (oct(path.stat().st_mode), 0 if path.is_dir() else path.stat().st_size)
        for path in base_path.rglob("*")
    }


def operation(run: native.Run, name: str) -> dict:
    for section in run.metrics.values():
        if isinstance(section, dict) and section.get("operation") == name:
            return section
    raise AssertionError(f"the report of {' '.join(run.command)} has no {name} section: {run.metrics}")


def require_all_found(run: native.Run, name: str, case: Case) -> None:
    found = operation(run, name)["total_success"]
    require(found == case.keys_per_round, f"{name} found {found} of {case.keys_per_round} keys")


# ---- the checks: each takes a fresh directory and returns the sentence it proved ----------------------------------


def ours_to_theirs(case: Case, scratch: pathlib.Path) -> str:
    base = scratch / "objects"
    case.ours(base, "--only", "store").expect(0)
    require(len(objects_in(base)) == case.total_keys, f"{len(objects_in(base))} files for {case.total_keys} keys")
    digest = hashlib.sha256()
    with case.theirs(base) as theirs:
        for index in range(ROUNDS):
            keys = theirs.keys(index)
            require(all(theirs.lookup(keys)), f"LMCache's lookup misses keys of round {index}")
            hits, loaded = theirs.load(keys)
            require(all(hits), f"LMCache's load misses keys of round {index}")
            names = [theirs.adapter._key_to_path(key) for batch in keys for key in batch]
            for path, payload in zip(names, loaded, strict=True):
                require(payload == path.read_bytes(), f"LMCache loaded other bytes than {path.name} holds")
                digest.update(payload)
        require(not any(theirs.lookup(theirs.keys(ROUNDS))), "LMCache's lookup finds keys that nobody stored")
    require_all_found(case.ours(base, "--only", "load", "--no-skip-verify").expect(0), "Load", case)
    kib = case.total_keys * case.size_kib
    return f"LMCache finds and loads {case.total_keys} objects we stored, {kib} KiB, sha256 {digest.hexdigest()[:12]}"


def theirs_to_ours(case: Case, scratch: pathlib.Path) -> str:
    """Payloads come from files of ours, because only those carry the stamps that our verification reads."""
    source, base = scratch / "stamped", scratch / "objects"
    case.ours(source, "--only", "store").expect(0)
    with case.theirs(base) as theirs:
        for index in range(ROUNDS):
            keys = theirs.keys(index)
            names = [theirs.adapter._key_to_path(key).name for batch in keys for key in batch]
            theirs.store(keys, [(source / name).read_bytes() for name in names])
    require(len(objects_in(base)) == case.total_keys, f"LMCache left {len(objects_in(base))} files")
    require_all_found(case.ours(base, "--only", "load", "--no-skip-verify").expect(0), "Load", case)
    lookup = case.ours(base, "--only", "lookup", "--lookup-max-hit-rate", "1.0").expect(0)
    require_all_found(lookup, "Lookup", case)
    return f"we find, load and verify {case.total_keys} objects that LMCache's adapter stored"


def command_lines_agree(case: Case, scratch: pathlib.Path) -> str:
    by_them, by_us = scratch / "theirs", scratch / "ours"
    reference.command_line(case.spec(by_them), *case.flags(), "--only", "store", "-q")
    case.ours(by_us, "--only", "store").expect(0)
    theirs, ours = listing(by_them), listing(by_us)
    only_them, only_us = sorted(theirs.items() - ours.items()), sorted(ours.items() - theirs.items())
    require(theirs == ours, f"only by LMCache, first 3: {only_them[:3]}\nonly by us, first 3: {only_us[:3]}")
    require_all_found(case.ours(by_them, "--only", "load").expect(0), "Load", case)
    return f"`lmcache bench l2` and ours leave the same {len(ours)} names, sizes and modes, and we load its objects"


def existing_objects_stay(case: Case, scratch: pathlib.Path) -> str:
    base = scratch / "objects"
    reference.command_line(case.spec(base), *case.flags(), "--only", "store", "-q")
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in objects_in(base)}
    run = case.ours(base, "--only", "store").expect(0)
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in objects_in(base)}
    require(before == after, "our store replaced objects that LMCache had stored")
    moved = operation(run, "Store")["throughput_avg_mbps"]
    require(moved == 0, f"a store that moved nothing reports {moved} MB/s")
    return f"our store leaves {len(after)} objects of LMCache as they were and reports 0 MB/s"


def flip_a_byte(files: list[pathlib.Path]) -> None:
    with files[-1].open("r+b") as file:
        file.seek(files[-1].stat().st_size // 2 + 13)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def truncate_a_file(files: list[pathlib.Path]) -> None:
    os.truncate(files[-1], files[-1].stat().st_size - 1)


def swap_two_files(files: list[pathlib.Path]) -> None:
    first, second = files[-1].read_bytes(), files[-2].read_bytes()
    files[-1].write_bytes(second)
    files[-2].write_bytes(first)


def delete_a_file(files: list[pathlib.Path]) -> None:
    files[-1].unlink()


DAMAGES = {
    "one flipped bit": flip_a_byte,
    "a truncated file": truncate_a_file,
    "two swapped files": swap_two_files,
    "a deleted file": delete_a_file,
}


def damage_is_seen(damage: str, scratch: pathlib.Path) -> str:
    """The negative control: shows that the verification which the other checks rely on can fail."""
    case, base = CASES[0], scratch / "objects"
    case.ours(base, "--only", "store").expect(0)
    case.ours(base, "--only", "load", "--no-skip-verify").expect(0)
    DAMAGES[damage](objects_in(base))
    run = case.ours(base, "--only", "load", "--no-skip-verify").expect(1)
    messages = [line for line in run.stderr.splitlines() if line.strip()]
    require(bool(messages), "our load exits 1 and prints no reason")
    return f"our load exits 1 and says: {messages[0].replace(str(base), 'DIR')}"


def main() -> None:
    by_name = {case.name: case for case in CASES}
    all_checks = [
        *((f"fs, ours to LMCache, {name}", ours_to_theirs, case) for name, case in by_name.items()),
        *((f"fs, LMCache to ours, {name}", theirs_to_ours, case) for name, case in by_name.items()),
        *(
            (f"fs, both command lines, {name}", command_lines_agree, by_name[name])
            for name in ("buffered", "relative_tmp_dir", "O_DIRECT")
        ),
        ("fs, objects that exist", existing_objects_stay, by_name["buffered"]),
        *((f"fs, {damage}", damage_is_seen, damage) for damage in DAMAGES),
    ]
    checks.run_all(all_checks, pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
