"""`guardrail.report` and `guardrail.sps`: the measurements that end as pages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.calibration.origin import origin_of
from guardrail.calibration.shipped import shipped_calibrator
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.datasets.claims import load_claim_rows_from
from guardrail.datasets.paraphrases import load_paraphrase_rows
from guardrail.datasets.paraphrasing import asks_langchain, names_langchain, paraphrase
from guardrail.errors import CalibrationError, DataError
from guardrail.evaluation import bench_file
from guardrail.evaluation.controls import text_reader
from guardrail.evaluation.report import Report, measure_run
from guardrail.evaluation.report_claims import ClaimReport, measure_claim_run
from guardrail.evaluation.setting import (
    ModelSource,
    StrPath,
    asks_question,
    calibrator_from,
    check_apart,
    grader_from,
    model_from,
    name_of,
    policy_from,
    refuse_claims,
    silent,
)
from guardrail.files import check_page, write_whole
from guardrail.grading import get_grader
from guardrail.html import claim_report_page, report_page, sps_page
from guardrail.plots import require_matplotlib, sps_png
from guardrail.policy import Policy, check_proof
from guardrail.runs.familiarity import with_familiarity
from guardrail.runs.progress import counter
from guardrail.runs.prompts import DIRECT, IN_SENTENCES
from guardrail.runs.run_answers import RunAnswers, RunHeader, check_fits, check_same_model, header_of, load_run
from guardrail.runs.run_claims import RunClaims, load_claim_run
from guardrail.runs.scores import Graded
from guardrail.runs.states import state_in

if TYPE_CHECKING:
    from guardrail.calibration.isotonic import IsotonicCalibrator
    from guardrail.calibration.provenance import Provenance, Unit
    from guardrail.datasets.paraphrasing import Ask
    from guardrail.grading import Grader
    from guardrail.model.local import LocalModel
    from guardrail.runs.progress import Say


@dataclass(frozen=True, slots=True, eq=False)
class RunReport:
    """What `guardrail.report` finds.

    Attributes:
        figures: Every number of the page; `figures.calibrator` is the one that was measured.
        run: The answers, graded.
        bench: The comparison of scorers that is shown as well.
        sps: The SPS map that is shown as well.
    """

    figures: Report | ClaimReport
    run: RunAnswers | RunClaims
    bench: bench_file.BenchRecord | None = None
    sps: SpsProfile | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `guardrail report --json` prints."""
        about = {"run": str(self.run.path), "calibrator": name_of(self.figures.calibrator), "grader": self.run.grader}
        return {**about, **self.figures.to_dict()}


def report(
    run: StrPath,
    output: StrPath | None = None,
    *,
    calibrator: IsotonicCalibrator | StrPath | None = None,
    policies: Sequence[Policy | StrPath] = (),
    unit: Unit = "answer",
    data: StrPath | None = None,
    bench: StrPath | None = None,
    sps: StrPath | None = None,
    grader: Grader | str | None = None,
    title: str = "",
    command: str = "guardrail.report",
) -> RunReport:
    """Reliability, risk and coverage, scores, examples and provenance of a finished run, without a model.

        found = guardrail.report("heldout.run.jsonl", "report.html", policies=["default"])
        found.figures.metrics["ece"]

    Args:
        run: The run file of `guardrail.evaluate` or `guardrail.tune`, on questions the calibrator has not seen.
        output: Where to write the page, which loads nothing.
        calibrator: A calibrator, its file or its `shipped:NAME`; None takes the one shipped for the run's model.
        policies: Policies, their names or files: what they would have done, and what they promise.
        unit: What one probability is about: "answer", or "claim" for a run of claims.
        data: For claims: what the run asked, whose facts and labels say which are right; "bundled": the bundled held-out
            questions for claims.
        bench: A file of `guardrail.bench`, to show how scorers compare.
        sps: A file of `guardrail.sps`, to show where the model keeps a question's meaning.
        grader: What says whether an answer is right; None takes the calibrator's. Claims are graded by their facts.
        title: The page's title; without one it names the model.
        command: How this was started, for the page.

    Returns:
        The figures and the run; `to_dict()` is what `guardrail report --json` prints.

    Raises:
        DataError: For files that cannot be used or are about another model, and for questions of the calibration.
        CalibrationError: For no calibrator, or one that does not say what it was fitted on.
        CalibratorMismatchError: For a calibrator of another model, or a policy tuned with another calibrator.
        PolicyError: For a policy that cannot be read.
    """
    path, out = Path(run), None if output is None else Path(output)
    if out is not None:
        check_page(out)
        given = [run, calibrator, bench, sps, data, *policies]
        inputs = [Path(one) for one in given if isinstance(one, str | os.PathLike)]
        if any(one.resolve() == out.resolve() for one in inputs):
            raise DataError(f"the output {str(out)!r} is one of the inputs; give another file")
    if (unit == "claim") != (data is not None):
        raise DataError(
            "claims are graded by facts and labels, which a run does not hold; give what it asked: --data DATA.jsonl, or "
            "--data bundled"
            if unit == "claim"
            else "--data is for claims; a run of whole answers holds its accepted answers"
        )
    if unit == "claim" and (bench is not None or grader is not None):
        option = f"--bench {bench}" if bench is not None else f"--grader {grader}"
        raise DataError(f"{option} is for whole answers; claims are graded by their facts and labels")
    tried = [policy_from(policy) for policy in policies]
    if unit == "answer":
        refuse_claims(tried, "use --unit claim")
    compared = bench_file.load_bench(bench) if bench else None
    meaning = SpsProfile.load(sps) if sps else None
    fitted = calibrator_from(calibrator)
    if fitted is None:
        shipped = shipped_calibrator(header_of(path, unit).identity("the model of the run"), unit)
        if shipped is None:
            what = "calibrator" if unit == "answer" else "calibrator of claims"
            raise CalibrationError(f"no {what} is shipped for the model of {path}; give one with --calibrator FILE")
        fitted = shipped[1]
    name = name_of(fitted)
    origin = origin_of(fitted, name)
    loaded: RunAnswers | RunClaims
    if data is not None:
        loaded = load_claim_run(path, load_claim_rows_from(os.fspath(data), "heldout"))
    else:
        loaded = load_run(path, grader_from(grader) or get_grader(origin.grader))
    check_fits(loaded, fitted, name)
    for policy in tried:
        check_proof(policy.proof, policy.name, fitted if unit == "answer" else None, name)
        check_proof(policy.claims_proof, policy.name, fitted if unit == "claim" else None, name)
    if compared is not None:
        check_same_model(loaded, compared.model, str(bench))
    if meaning is not None:
        check_same_model(loaded, meaning.model.model_dump(), str(sps))
    figures: Report | ClaimReport
    with text_reader() as reader:
        if isinstance(loaded, RunClaims):
            kinds = [str(row.extra.get("kind", "")) for row in loaded.rows]
            claims = _familiar(fitted, loaded.answers, loaded.header, origin)
            figures = measure_claim_run(fitted, claims, tried, data=loaded.data, kinds=kinds, reader=reader)
            text = claim_report_page(figures, loaded, calibrator=name, sps=meaning, title=title, command=command)
        else:
            answers = _familiar(fitted, loaded.answers, loaded.header, origin)
            figures = measure_run(fitted, answers, tried, data=loaded.data, reader=reader)
            text = report_page(
                figures, loaded, calibrator=name, bench=compared, sps=meaning, title=title, command=command
            )
    if out is not None:
        write_whole(out, text, "the report", DataError)
    return RunReport(figures, loaded, compared, meaning)


def _familiar(fitted: IsotonicCalibrator, answers: Graded, asked: RunHeader, origin: Provenance) -> Graded:
    """The same with how alike each question is to those of the calibration, where the run holds what it looks like."""
    known = fitted.familiarity
    if known is None or (asked.asking.prompt, asked.asking.system) != (origin.prompt, origin.system):
        return answers
    return with_familiarity(fitted, answers, [state_in(r, known.layer, known.width) for r in answers.records])


def sps(
    model: ModelSource,
    data: StrPath,
    output: StrPath | None = None,
    *,
    html: StrPath | None = None,
    png: StrPath | None = None,
    limit: int | None = None,
    paraphrases: int | None = None,
    paraphrase_with: ModelSource | None = None,
    paraphrases_out: StrPath | None = None,
    unit: Unit = "answer",
    prompt: str | None = None,
    system: str | None = None,
    tokens_per_pass: int = 4096,
    command: str = "guardrail.sps",
    progress: Say | None = None,
) -> SpsProfile:
    """Measure SPS: at which layers and tokens do paraphrases look alike, and other questions not?

        found = guardrail.sps("smollm2-135m", "paraphrases.jsonl", "sps.json")
        found.token, found.evidence

    Nothing is generated, and no answers are needed. `guardrail calibrate --profile FILE` uses the proposed token.

    Args:
        model: A model, a spec as `load_model` takes it, or a function that loads one. It is loaded after everything else
            was checked.
        data: A file of `question` and `paraphrases` (a list), two rows or more; "bundled": 16 questions, to try it.
        output: Where to write the profile, as JSON.
        html: Where to write a page with the heat map.
        png: Where to write the heat map as a picture (extra `plots`).
        limit: Use at most so many questions, two or more.
        paraphrases: Use at most so many of each question; how many to make (default 5).
        paraphrase_with: The chat model that makes missing paraphrases: as `model`, or `provider:model` of LangChain.
        paraphrases_out: Where to write those; None is OUTPUT.paraphrases.jsonl.
        unit: What a calibration to come is about, "answer" or "claim": the default prompt depends on it.
        prompt: How to ask, with {question}; None is that of `guardrail calibrate`.
        system: A system message.
        tokens_per_pass: Padded prompt tokens of one pass, which bound its memory.
        command: How this was started, for the record.
        progress: Called with one line before each slow step.

    Returns:
        The profile, which is what `guardrail sps --json` prints.

    Raises:
        DataError: For data, prompts or files that cannot be used.
        ModelError: For a prompt shorter than ten tokens or longer than the context.
        MissingExtraError: For `png` without matplotlib.
    """
    say = progress or silent
    prompt = asks_question(prompt if prompt is not None else DIRECT if unit == "answer" else IN_SENTENCES)
    if paraphrases_out is not None and paraphrase_with is None:
        raise DataError("--paraphrases-out is for paraphrases that are made; add --paraphrase-with SPEC")
    source = os.fspath(data)
    rows = load_paraphrase_rows(source, limit, most=paraphrases, complete=paraphrase_with is None)
    profile, page, picture = (None if path is None else Path(path) for path in (output, html, png))
    made = None
    if paraphrase_with is not None and not all(row.paraphrases for row in rows):
        if paraphrases_out is None and profile is None:
            raise DataError(
                "paraphrases are to be made; --paraphrases-out FILE or --output FILE says where to keep them"
            )
        made = Path(paraphrases_out or f"{profile}.paraphrases.jsonl")
        if made.exists():
            raise DataError(f"{str(made)!r} is there already; give it as the data to go on with it, or another name")
    outputs = [path for path in (profile, page, picture, made) if path is not None]
    for path in outputs:
        check_page(path)
    check_apart("the data and the outputs must be different files", source, *outputs)
    if picture is not None:
        require_matplotlib()
    local = model_from(model, say)

    # torch is needed from here on
    from guardrail.evaluation.sps import measure_sps
    from guardrail.runs.asking import Asking

    if made is not None and paraphrase_with is not None:
        ask = _asks(paraphrase_with, local if paraphrase_with == model else None, say)
        count = counter("questions paraphrased", say)
        rows = paraphrase(rows, ask, paraphrases or 5, made, progress=lambda n, total: count(n, total, 0.0))
        say(f"{made} holds the paraphrases: read them, a model may change a question's meaning")
    found = measure_sps(
        local,
        rows,
        Asking(prompt, system),
        name=Path(source).name,
        command=command,
        tokens_per_pass=tokens_per_pass,
        progress=counter("prompts read", say),
    )
    if profile is not None:
        found.save(profile)
    if page is not None:
        write_whole(page, sps_page(found), "the page", DataError)
    if picture is not None:
        sps_png(found, picture)
    return found


def _asks(writer: ModelSource, local: LocalModel | None, say: Say) -> Ask:
    """What asks the model that writes paraphrases. local: that model, where it is loaded already."""
    if isinstance(writer, str) and names_langchain(writer):
        return asks_langchain(writer)
    asked = local or model_from(writer, say)
    return lambda text: asked.generate(text, max_new_tokens=400).text
