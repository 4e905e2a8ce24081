"""A report -> a page: what a calibrator is worth on a run, in words, figures, examples and provenance. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from guardrail.calibration.origin import origin_of
from guardrail.calibration.provenance import Provenance
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.claims.shown import probability
from guardrail.evaluation.bench_file import BenchRecord
from guardrail.evaluation.report import Report
from guardrail.evaluation.report_claims import ClaimReport
from guardrail.evaluation.report_examples import EACH, Example, LabelExamples, examples_by_label
from guardrail.html.page import page, versions_here
from guardrail.html.palette import LOOKS, Look
from guardrail.html.report_claims import (
    claim_examples,
    claim_key_figures,
    claim_policy,
    claim_promises,
    claim_summary,
    kept_figure,
)
from guardrail.html.report_controls import beside
from guardrail.html.report_figures import Figure, bench_figure, reliability_figure, risk_figure, score_figure
from guardrail.html.report_words import (
    cautions,
    count,
    percent,
    percent_estimate,
    policy,
    promise,
    summary,
    unlike,
)
from guardrail.html.sps import sentences, sps_map
from guardrail.runs.run_answers import GradedRun, RunAnswers, RunHeader
from guardrail.runs.run_claims import RunClaims

LONGEST = 400
"""Characters of a question or an answer that are shown; the run file has the rest."""

_LONGEST_OPTION = 100  # arrays as text are left out

MOST_FORMS = 5
"""Accepted forms that are shown of one question."""


def report_page(
    report: Report,
    run: RunAnswers,
    *,
    calibrator: str,
    bench: BenchRecord | None = None,
    sps: SpsProfile | None = None,
    title: str = "",
    command: str = "",
    made: datetime | None = None,
) -> str:
    """One self-contained HTML page, UTF-8, that loads nothing and has no script.

    calibrator: its name. bench, sps: what to show as well. title: of the page; without one, the model's name.
    command: what made the page. made: its date; None is now. Raises `CalibrationError` for a calibrator that does not say
    what it was fitted on.

        found = measure_run(calibrator, run.answers, policies, data=run.data)
        Path("report.html").write_text(report_page(found, run, calibrator="c.json"), encoding="utf-8")
    """
    told = _Told(
        "answer",
        summary(report, run),
        [("questions", str(len(report.answers.records)), f"{report.unscored} without a score")],
        [_policy_words(report, i) for i in range(len(report.policies))],
        risk_figure(report),
        examples_by_label(report.answers.records, report.confidences, report.answers.correct),
    )
    others = unlike(run, bench)
    return _page(
        report, run, told, others, calibrator=calibrator, bench=bench, sps=sps, title=title, command=command, made=made
    )


def claim_report_page(
    report: ClaimReport,
    run: RunClaims,
    *,
    calibrator: str,
    sps: SpsProfile | None = None,
    title: str = "",
    command: str = "",
    made: datetime | None = None,
) -> str:
    """The same page about claims; as `report_page`."""
    told = _Told(
        "claim",
        claim_summary(report, run),
        claim_key_figures(report),
        [(check.outcome.policy, claim_policy(check), claim_promises(check)) for check in report.policies],
        kept_figure(report),
        claim_examples(report, run),
    )
    return _page(
        report, run, told, (), calibrator=calibrator, bench=None, sps=sps, title=title, command=command, made=made
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What is said of answers in one way and of claims in another."""

    unit: str
    summary: tuple[str, ...]
    key_figures: list[tuple[str, str, str]]
    policies: Sequence[tuple[str, str, tuple[tuple[str, str], ...]]]
    risk: Figure
    examples: Sequence[LabelExamples]


def _page(
    report: Report | ClaimReport,
    run: GradedRun,
    told: _Told,
    others: Sequence[str],
    *,
    calibrator: str,
    bench: BenchRecord | None,
    sps: SpsProfile | None,
    title: str,
    command: str,
    made: datetime | None,
) -> str:
    origin = origin_of(report.calibrator, calibrator)
    figures = [reliability_figure(report), told.risk, score_figure(report)]
    if bench is not None:
        figures.append(bench_figure(bench))
    return page(
        "report.html",
        style=["report.css", *(["heat_map.css"] if sps else [])],
        title=title or f"How far to trust {origin.model.name}",
        model=origin.model.name,
        data=run.path.name,
        unit=told.unit,
        summary=(*told.summary, *beside(report)),
        key_figures=[*told.key_figures, *_key_figures(report)],
        policies=told.policies,
        cautions=cautions(report, run, origin, others),
        figures=figures,
        sps=sps,
        sps_map=sps_map(sps) if sps else None,
        sps_sure=sentences(sps) if sps else [],
        groups=[_group(group, told.unit) for group in told.examples],
        each=EACH,
        longest=LONGEST,
        provenance=_provenance(report, run, origin, calibrator, bench, command, made or datetime.now(UTC)),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """A label with its examples. rate: how many answers have it, and how many of them are right."""

    look: Look
    rate: str
    rows: tuple[tuple[Example, str, str, str, str], ...]


def _key_figures(report: Report | ClaimReport) -> list[tuple[str, str, str]]:
    """Name, value, interval or remark."""
    found = []
    for name, title, shown in (
        ("accuracy", "right", percent),
        ("auroc", "AUROC", "{:.3f}".format),
        ("ece", "ECE", "{:.3f}".format),
    ):
        e = report.metrics.get(name)
        if e is None:
            found.append((title, "undefined", "all are right, or all wrong" if name == "auroc" else ""))
        else:
            low = shown(e.low).removesuffix("\u00a0%")
            found.append((title, shown(e.value), f"{low} to {shown(e.high)}, n = {e.n}"))
    return found


def _policy_words(report: Report, i: int) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Name, what it would have done, and what became of each promise with a slug of the verdict."""
    check = report.policies[i]
    promises = tuple(("own" if p.own_data else p.verdict.replace(" ", "-"), promise(p)) for p in check.promises)
    return check.outcome.policy, policy(check), promises


def _group(group: LabelExamples, unit: str) -> _Group:
    rate = f"{count(group.right.n, unit)}, {percent_estimate(group.right)} right"
    rows = tuple(
        (
            e,
            _cut(e.question),
            _cut(e.answer),
            _forms(e),
            probability(e.confidence) if e.confidence.label else e.confidence.reason,
        )
        for e in group.examples
    )
    return _Group(LOOKS[group.label], rate, rows)


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"


def _forms(example: Example) -> str:
    forms = [_cut(form) for form in example.accepted[:MOST_FORMS]]
    more = len(example.accepted) - MOST_FORMS
    return " / ".join(forms) + (f" / {more} more" if more > 0 else "")


def _provenance(
    report: Report | ClaimReport,
    run: GradedRun,
    origin: Provenance,
    calibrator: str,
    bench: BenchRecord | None,
    command: str,
    made: datetime,
) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Heading -> names and values: enough to make every number again."""
    model = run.header.model
    hidden = {"semgrad_quantiles", "paragrad_quantiles"}
    options = ", ".join(
        f"{name} {'by eq. 6' if value is None else value}"  # alpha alone may be None
        for name, value in origin.profile.items()
        if name not in hidden and not isinstance(value, list | dict) and len(str(value)) <= _LONGEST_OPTION
    )
    parts: dict[str, list[tuple[str, str]]] = {
        "Run": [
            ("file", str(run.path)),
            (
                "questions",
                f"{len(run.rows)}, SHA-256 {run.data}"
                + ("" if run.complete else ", not all of those it was begun for"),
            ),
            ("model", f"{origin.model.name} ({model.get('architecture', 'unknown')}, {model.get('dtype', 'unknown')})"),
            ("weights", model.get("weights", "unknown")),
            ("chat template", model.get("chat_template", "unknown")),
            *_how_asked(run.header),
            ("grader", run.grader),
        ],
        "Calibrator": [
            ("file", calibrator),
            ("SHA-256", report.calibrator.digest),
            (
                "fitted on",
                f"{count(origin.n, report.unit)}, {percent(origin.accuracy)} right"
                + (
                    f", logged and labelled by people, SHA-256 of scores and labels {origin.recalibrated['data']}"
                    if origin.recalibrated
                    else f", SHA-256 of the questions {origin.data}"
                ),
            ),
            ("scorer", f"{origin.scorer} ({options})" if options else origin.scorer),
            ("grader", origin.grader),
            ("made", f"{origin.created}: {origin.command}"),
            ("versions", _named(origin.versions)),
        ],
    }
    for check in report.policies:
        if (proof := check.proof) is not None:
            parts[f"Policy {check.outcome.policy}"] = [
                ("promise", proof.in_words()),
                ("made", f"{proof.created}: {proof.command}"),
                ("versions", _named(proof.versions)),
            ]
    if bench is not None:
        parts["Comparison of scorers"] = [
            ("data", f"{bench.data.name}, {count(bench.data.n, 'question')}, SHA-256 {bench.data.hash}"),
            ("grader", bench.grader),
            ("made", f"{bench.created}: {bench.command}"),
            ("versions", _named(bench.versions)),
        ]
    parts["This page"] = [
        ("command", command or "not told"),
        ("made", made.strftime("%Y-%m-%d %H:%M %Z").strip()),
        ("versions", versions_here()),
        (
            "intervals",
            "95 %. Shares: Wilson; error among answered, answers that keep a wrong claim: exact (Clopper-Pearson); AUROC, "
            f"AURC, Brier, ECE, and all shares of claims but those in bins: percentile bootstrap, {report.draws} draws, seed "
            f"{report.seed}."
            if report.unit == "claim"
            else "95 %. Shares: Wilson; error among answered: exact (Clopper-Pearson); AUROC, AURC, Brier, ECE: percentile "
            f"bootstrap, {report.draws} draws, seed {report.seed}.",
        ),
    ]
    return parts


def _how_asked(header: RunHeader) -> list[tuple[str, str]]:
    """How the questions were put: of a chain, its name; what it asks is its own affair."""
    asked = header.asking
    if header.through is not None:
        return [("asked by the chain", header.through["name"] or "unknown")]
    return [
        ("prompt", asked.prompt),
        ("system message", asked.system or "none"),
        ("decoding", f"greedy, at most {count(asked.max_new_tokens, 'token')}"),
    ]


def _named(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
