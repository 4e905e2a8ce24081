"""What verifiers call supported and contradicted: `python -m tests.benchmarks.verification`. Prints Markdown tables.

The readings of every check are made once; the bounds are chosen on one half of the subjects, the figures are the other half's.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

from guardrail import load_model
from guardrail.calibration.metrics import wilson_interval
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.data.build.choices import stable_hash
from guardrail.scoring.hybridgrad import HybridGradScorer
from guardrail.scoring.profile import Profile
from guardrail.types import Claim, Evidence
from guardrail.verification.model import Bounds, ModelVerifier, Reading, decide
from tests.benchmarks.verification_set import LABELS, Check, check_set

FALSE_SUPPORT = 0.05  # the most that the choice of bounds accepts, on its half
EVERYTHING = Bounds(near=0.5, near_otherwise=0.5)  # the model runs on whatever some choice of bounds may settle


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.verification", description=__doc__)
    parser.add_argument("--each", type=int, default=40, help="checks of a sort, at most")
    parser.add_argument("--readings", type=Path, help="a JSON file that keeps the readings, and is gone on with")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ordered = sorted(check_set(8), key=lambda c: stable_hash(f"{c.sort} {c.claim}"))
    checks = [c for sort in LABELS for c in [c for c in ordered if c.sort == sort][: options.each]]
    report(checks, read(checks, options.readings))


def read(checks: list[Check], path: Path | None) -> list[Reading | None]:
    stored = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.exists() else {}
    if todo := [check for check in checks if _key(check) not in stored]:
        verifier = _verifier()
        for i, check in enumerate(todo, start=1):
            claim, passage = Claim(check.claim, 0, len(check.claim)), Evidence(check.passage.text, "", None)
            [found] = verifier.read([claim], [[passage]], question=check.question)
            stored[_key(check)] = asdict(found[0]) if found else None
            if path is not None and (i % 10 == 0 or i == len(todo)):
                path.write_text(json.dumps(stored), encoding="utf-8")
    rows = [stored[_key(check)] for check in checks]
    return [Reading(**row) if row else None for row in rows]


def _key(check: Check) -> str:
    return f"{check.sort}: {check.claim}"


def _verifier() -> ModelVerifier:
    """As a Guard makes it: with the profile of the shipped calibrator."""
    model = load_model("smollm2-135m", device="cpu")
    shipped = shipped_calibrator(model.identity)
    assert shipped is not None
    assert shipped[1].provenance is not None
    scorer = HybridGradScorer(model, profile=Profile.model_validate(shipped[1].provenance.profile))
    return ModelVerifier(model, scorer, bounds=EVERYTHING)


def report(checks: list[Check], readings: list[Reading | None]) -> None:
    halves = [[(c, r) for c, r in zip(checks, readings, strict=True) if c.half == half] for half in (0, 1)]
    variants = {
        "similarity alone": ({"near": _STEPS}, {"backed": True, "denied": False, "share": 1.0, "unsure": 1.0}),
        "+ names, numbers, negation": ({"near": _STEPS}, {"share": 1.0, "unsure": 1.0}),
        "+ likelihood among rivals": ({"near": _STEPS, "share": _SHARES}, {"unsure": 1.0}),
        "+ HybridGrad": ({"near": _STEPS, "share": _SHARES, "unsure": _RATIOS}, {}),
    }
    print(
        "| variant | bounds | false supported | supported, of stated | right, of three |\n| --- | --- | --- | --- | --- |"
    )
    chosen = Bounds()
    for name, (grid, fixed) in variants.items():
        altered = [[(c, _fix(r, fixed)) for c, r in half] for half in halves]
        start = Bounds(near=0.7, share=0.0, unsure=2.0, share_otherwise=-1.0)
        chosen = choose(altered[0], start, grid)
        print(f"| {name} | {_spell(chosen, grid)} | {' | '.join(figures(altered[1], chosen))} |")
    denial = {"near_otherwise": _STEPS, "share_otherwise": (0.001, 0.01, 0.05, 0.1, 0.2), "unsure_otherwise": _RATIOS}
    both = choose_denial(halves[0], chosen, denial)
    print(f"| and contradicted | {_spell(both, denial)} | {' | '.join(figures(halves[1], both))} |\n\n{both}\n")
    for name, bounds in (("chosen", both), ("the defaults", Bounds())):
        print(f"{name}\n\n| sort | checks | supported | contradicted | not found |\n| --- | --- | --- | --- | --- |")
        for sort in LABELS:
            said = [_said(r, bounds) for c, r in halves[1] if c.sort == sort]
            counts = " | ".join(_share(said.count(s), len(said)) for s in ("supported", "contradicted", "not found"))
            print(f"| {sort} | {len(said)} | {counts} |")
        print()


_STEPS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
_RATIOS = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
Half = list[tuple[Check, Reading | None]]


def choose(half: Half, bounds: Bounds, grid: dict[str, tuple[float, ...]]) -> Bounds:
    """The bounds that find most of the stated claims with at most FALSE_SUPPORT of the others supported; else fewest of those.

    Each sort counts the same: the hard ones are few.
    """

    def rank(b: Bounds) -> tuple[float, ...]:
        wrong, right = _supported(half, b)
        return (wrong > FALSE_SUPPORT, wrong if wrong > FALSE_SUPPORT else 0, -right, wrong)

    return min(
        (replace(bounds, **dict(zip(grid, values, strict=True))) for values in product(*grid.values())), key=rank
    )


def choose_denial(half: Half, bounds: Bounds, grid: dict[str, tuple[float, ...]]) -> Bounds:
    """The bounds with the most right answers of three, a true claim called contradicted counting five times."""

    def rank(b: Bounds) -> float:
        said = [(c, _said(r, b)) for c, r in half]
        return sum(s == c.label for c, s in said) - 5 * sum(
            c.sort in ("stated", "foreign") and s == "contradicted" for c, s in said
        )

    return max(
        (replace(bounds, **dict(zip(grid, values, strict=True))) for values in product(*grid.values())), key=rank
    )


def figures(half: Half, bounds: Bounds) -> list[str]:
    said = [(c, _said(r, bounds)) for c, r in half]
    other = [s for c, s in said if c.sort != "stated"]
    stated = [s for c, s in said if c.sort == "stated"]
    right = sum(c.label == s for c, s in said)
    return [
        _share(other.count("supported"), len(other)),
        _share(stated.count("supported"), len(stated)),
        _share(right, len(said)),
    ]


def _supported(half: Half, bounds: Bounds) -> tuple[float, float]:
    """Mean over the other sorts of the share that is called supported; the share of the stated claims."""
    shares = {}
    for sort in LABELS:
        said = [_said(r, bounds) == "supported" for c, r in half if c.sort == sort]
        shares[sort] = sum(said) / len(said)
    right = shares.pop("stated")
    return sum(shares.values()) / len(shares), right


def _said(reading: Reading | None, bounds: Bounds) -> str:
    return "not found" if reading is None else decide(reading, bounds)


def _fix(reading: Reading | None, values: dict[str, object]) -> Reading | None:
    return None if reading is None else replace(reading, **values)  # type: ignore[arg-type]


def _spell(bounds: Bounds, names: dict[str, tuple[float, ...]]) -> str:
    return ", ".join(f"{name} {getattr(bounds, name):g}" for name in names)


def _share(count: int, total: int) -> str:
    if not total:
        return "none"
    e = wilson_interval(count, total)
    return f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


if __name__ == "__main__":
    main()
