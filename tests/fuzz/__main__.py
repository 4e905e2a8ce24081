"""Fuzz the readers: `python -m tests.fuzz [--seconds N | --inputs N] [--seed S] [--atheris] [TARGET ...]`.

--seconds are for each target, --inputs for all of them together. --atheris guides one target by the coverage of guardrail/, on
platforms that have atheris. Exit code 1: there are faults, and they were printed.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.driver import fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    chosen = parser.parse_args()
    if chosen.atheris:
        return guided(chosen.target, chosen.seconds or 60, chosen.seed)
    from tests.fuzz.targets import TARGETS

    targets = [TARGETS[name] for name in chosen.target or TARGETS]
    shares, faults, total = sum(each.share for each in targets), 0, 0
    for target in targets:
        began = time.monotonic()
        limits = {"seconds": chosen.seconds} if chosen.seconds else {"inputs": chosen.inputs * target.share // shares}
        found = fuzz(target, seed=chosen.seed, **limits)
        faults, total = faults + len(found.faults), total + found.inputs
        print(
            f"{target.name:12} {found.inputs:8} inputs {len(found.outcomes):6} outcomes {len(found.faults):4} faults   "
            f"slowest {found.slowest:.3f} s, {time.monotonic() - began:.1f} s in all",
            flush=True,
        )
        for fault in found.faults:
            print(f"  {fault}")
    print(f"{total} inputs, {faults} faults")
    return bool(faults)


def guided(names: list[str], seconds: float, seed: int) -> int:
    """One target by atheris, which ends the process; a crash is printed and kept in the working folder, as libFuzzer does."""
    import atheris

    with atheris.instrument_imports(include=["guardrail"]):
        from tests.fuzz.targets import TARGETS

    if len(names) != 1:
        sys.exit("--atheris takes one target")
    target = TARGETS[names[0]]
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-timeout=2", "-max_len=4000"],
        target.read,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
