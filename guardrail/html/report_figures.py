"""Numbers of a report -> figures: a finding, a drawing, how to read it, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from guardrail.calibration.metrics import Estimate, ReliabilityBin
from guardrail.evaluation.bench_file import BenchRecord, EstimateRecord, ScorerFigures
from guardrail.evaluation.report import Report
from guardrail.evaluation.report_claims import ClaimReport
from guardrail.html.charts import Point, Row, dot_whisker, reliability_diagram, risk_coverage, score_histogram
from guardrail.html.charts.score_histogram import counts_of
from guardrail.html.report_words import calibration, estimate, percent, percent_estimate, ranking

SUREST = 0.25
"""The coverage that the finding about risk is told at: fixed, so that nobody picks the one that looks best."""

_STEPS = 20  # rows of the table of a curve that may have thousands of points


@dataclass(frozen=True, slots=True)
class Table:
    """name: what it is a table of, for a screen reader. Every row has a cell for each heading; the first names the row."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """topic: what it is about, in a word or two. finding: what it shows, as a sentence; the heading. drawings: SVG."""

    slug: str
    topic: str
    finding: str
    drawings: tuple[Markup, ...]
    reading: tuple[str, ...]
    tables: tuple[Table, ...]


def reliability_figure(report: Report | ClaimReport) -> Figure:
    finding = calibration(report)
    rows = [*_bins("calibrated", report.reliability), *_bins("own", report.own_reliability)]
    reading = [
        f"Each point is a bin of {report.unit}s with about the same confidence. Below the diagonal the confidence is too "
        "high, above it too low. "
        "With 95 % intervals, about one bin in twenty misses the diagonal by chance.",
    ]
    if report.unit == "claim":
        reading.append(
            "Claims of one answer hang together, so that the intervals of these bins are somewhat too narrow."
        )
    if report.own_ece is not None:
        reading.append(
            "The model's own probability, the mean probability of its tokens, is what there is without a calibrator: "
            f"its ECE is {estimate(report.own_ece)}."
        )
    else:
        reading.append("The run does not hold the tokens' probabilities, so the model's own probability is not shown.")
    return Figure(
        "reliability",
        "Reliability",
        finding,
        (
            reliability_diagram(
                "reliability-chart",
                finding,
                described(rows),
                report.reliability,
                report.own_reliability,
                unit=report.unit,
            ),
        ),
        tuple(reading),
        (
            Table(
                "Reliability, bin by bin",
                ("bin", "series", "mean stated", "right, 95 % interval", f"{report.unit}s"),
                tuple(rows),
            ),
        ),
    )


def risk_figure(report: Report) -> Figure:
    curve = report.curve
    at = _at_coverage(report, SUREST)
    scored = len(report.correct)
    finding = (
        f"Among the surest {percent(curve.coverage[at])} of the questions, {percent_estimate(_risk(report, at))} "
        f"are answered wrongly; "
        f"among all that have a score, {percent(curve.aurc_random)}"
    )
    points = []
    for check in report.policies:
        promises = {p.what: p.promise.max_error for p in check.promises}
        name, done = check.outcome.policy, check.outcome
        if check.error:
            points.append(Point(f"policy {name}: answered", done.answered.value, check.error, promises.get("answered")))
        if check.error_shown and done.actions["hedge"]:
            points.append(
                Point(
                    f"policy {name}: answered or hedged", done.coverage.value, check.error_shown, promises.get("shown")
                )
            )
    rows: list[tuple[str, ...]] = []
    for share in np.linspace(1 / _STEPS, 1, _STEPS).tolist():
        i = _at_coverage(report, share)
        row = (percent(curve.coverage[i]), f"{curve.threshold[i]:.3f}", percent_estimate(_risk(report, i)))
        if not rows or rows[-1] != row:
            rows.append(row)
    aurc = report.metrics.get("aurc")
    tables = [
        Table(
            "Error by coverage",
            ("coverage", "confidence from", "wrong among answered, exact 95 % interval"),
            tuple(rows),
        ),
        Table(
            "Area under the curve",
            ("order", "AURC (lower is better)"),
            (
                ("by confidence", estimate(aurc) if aurc else "undefined"),
                ("random", f"{curve.aurc_random:.3f}"),
                ("oracle", f"{curve.aurc_oracle:.3f}"),
            ),
        ),
    ]
    reading = [
        "From left to right more questions are answered, the surest first. The lower the curve lies below the "
        "random order, the more the "
        "confidence is worth; no order does better than the oracle. The band is each point's own exact interval, "
        "not one for the whole curve.",
        f"Area under the curve (AURC, over the {scored} scored answers): {estimate(aurc) if aurc else 'undefined'}; random "
        f"{curve.aurc_random:.3f}, oracle {curve.aurc_oracle:.3f}.",
    ]
    if any("retrieve" in str(rule.then) for check in report.policies for rule in check.policy.answer_rules):
        reading.append("A policy's rules that look something up are passed over: the run has no retriever.")
    svg = risk_coverage(
        "risk-chart",
        finding,
        described([row[:1] + row[2:] for row in rows]),
        curve.coverage,
        curve.risk,
        curve.low,
        curve.high,
        right_share=curve.right_share,
        unguarded=curve.aurc_random,
        points=points,
    )
    return Figure("risk", "Risk and coverage", finding, (svg,), tuple(reading), tuple(tables))


def score_figure(report: Report | ClaimReport) -> Figure:
    counts = counts_of(report.score, report.correct)
    finding = ranking(report)
    rows = tuple(
        (f"{low:.4g} to {high:.4g}", str(right), str(wrong))
        for low, high, right, wrong in zip(counts.edges, counts.edges[1:], counts.right, counts.wrong, strict=False)
        if right or wrong
    )
    blocks = tuple(
        (
            f"{b.first:.4g} to {b.last:.4g}",
            f"{b.p_correct:.3f} ({b.low:.3f} to {b.high:.3f})",
            f"{b.n_correct} of {b.n}",
        )
        for b in report.calibrator.blocks
    )
    reading = (
        f"Where bars upwards are as long as bars downwards, half of the {report.unit}s with that score are right. The "
        "line above is what the "
        f"calibrator, fitted on other questions, says about a score; its band is the interval that each {report.unit}'s "
        "confidence comes with.",
    )
    tables = (
        Table(f"Scores of right and wrong {report.unit}s", ("score", "right", "wrong"), rows),
        Table("The calibrator's blocks", ("score", "probability, 95 % interval", "right in calibration"), blocks),
    )
    svg = score_histogram("score-chart", finding, described(rows), counts, report.calibrator.blocks, unit=report.unit)
    return Figure("scores", "Scores", finding, (svg,), reading, tables)


def bench_figure(bench: BenchRecord) -> Figure:
    """Scorers by AUROC, best first; what is said of them rests on the paired differences."""
    ranked = sorted(bench.scorers, key=lambda s: -s.auroc.value)
    chief = next((s.name for s in ranked if s.difference is None), ranked[0].name)
    finding = _comparison(ranked, chief)
    rows = tuple(
        (
            s.name,
            _est(s.auroc),
            _est(s.difference) if s.difference else "",
            _est(s.aurc),
            _est(s.prr),
            f"{s.seconds.median:.3g} ({s.seconds.low:.3g} to {s.seconds.high:.3g})",
            f"{s.memory_mb:.0f}" if s.memory_mb is not None else "not measured",
            f"{s.n} ({s.unscored} unscored)",
        )
        for s in ranked
    )
    by_auroc = described([row[:2] for row in rows])
    drawings = [
        dot_whisker(
            "bench-auroc",
            "AUROC of each scorer",
            by_auroc,
            [Row(s.name, s.auroc.value, s.auroc.low, s.auroc.high, s.name == chief) for s in ranked],
            "AUROC, 95 % interval (right is better)",
            reference=0.5,
            reference_name="chance",
        )
    ]
    if others := [(s.name, s.difference) for s in ranked if s.difference]:
        drawings.append(
            dot_whisker(
                "bench-difference",
                f"AUROC of each scorer minus that of {chief}",
                described([(name, _est(d)) for name, d in others]),
                [Row(name, d.value, d.low, d.high) for name, d in others],
                f"AUROC minus {chief}'s, same answers",
                reference=0.0,
                reference_name="no difference",
            )
        )
    if timed := [s for s in ranked if s.seconds.low > 0]:
        drawings.append(
            dot_whisker(
                "bench-seconds",
                "Time that each scorer takes for one answer",
                described([(s.name, f"{s.seconds.median:.3g} s") for s in timed]),
                [Row(s.name, s.seconds.median, s.seconds.low, s.seconds.high, s.name == chief) for s in timed],
                "seconds for one answer, log scale (left is better)",
                log=True,
            )
        )
    reading = (
        f"{bench.n} answers to {bench.data.name}, {percent_estimate(_as_estimate(bench.accuracy))} right. "
        f"Differences are paired: both "
        "scorers on the same answers. Each interval holds by itself; of twenty true zeros, about one shows as a difference.",
    )
    headings = ("scorer", "AUROC", f"minus {chief}", "AURC", "PRR", "seconds an answer", "memory, MB", "answers")
    return Figure("scorers", "Scorers compared", finding, tuple(drawings), reading, (Table("Scorers", headings, rows),))


def _comparison(ranked: Sequence[ScorerFigures], chief: str) -> str:
    others = [s for s in ranked if s.difference]
    if not others:
        return f"AUROC of {len(ranked)} scorers; nothing says which differ"
    better = [s.name for s in others if s.difference and s.difference.low > 0]
    worse = [s.name for s in others if s.difference and s.difference.high < 0]
    beat = f"{_listed(better)} {'ranks' if len(better) == 1 else 'rank'} better than {chief}" if better else (
        f"No scorer ranks better than {chief} beyond chance"
    )  # fmt: skip
    return f"{beat}; {len(worse)} of {len(others)} rank worse"


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = list(names[:most]) + ([f"{len(names) - most} more"] if len(names) > most else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _bins(series: str, bins: Sequence[ReliabilityBin]) -> list[tuple[str, ...]]:
    return [
        (f"{b.low:.1f} to {b.high:.1f}", series, f"{b.mean_p:.3f}", estimate(b.accuracy), str(b.accuracy.n))
        for b in bins
    ]


def _at_coverage(report: Report, share: float) -> int:
    """The point of the curve with the smallest coverage of at least `share`; the last one where none has it."""
    coverage = report.curve.coverage
    return min(int(np.searchsorted(coverage, share - 1e-9)), len(coverage) - 1)


def _risk(report: Report, i: int) -> Estimate:
    c = report.curve
    answered = round(c.coverage[i] * len(report.answers.records))
    return Estimate(float(c.risk[i]), float(c.low[i]), float(c.high[i]), answered)


def described(rows: Sequence[Sequence[str]], most: int = 40) -> str:
    """The numbers of a drawing as one text; all of them are in the table as well."""
    text = "; ".join(", ".join(filter(None, row)) for row in rows[:most])
    return text + (f"; and {len(rows) - most} more, in the table" if len(rows) > most else "")


def _est(e: EstimateRecord | None) -> str:
    return "" if e is None else f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"


def _as_estimate(e: EstimateRecord) -> Estimate:
    return Estimate(e.value, e.low, e.high, e.n)
