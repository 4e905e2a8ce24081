"""`guardrail calibrate`: questions with accepted answers, or with facts for claims -> a calibrator."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guardrail.cli import options

if TYPE_CHECKING:
    from guardrail.calibration.sps_profile import SpsProfile
    from guardrail.runs.readings import Sample
    from guardrail.scoring.profile import Profile

DIRECT = "Please directly answer the following question with one or few words:\n{question}"
"""The prompt of arXiv 2605.04638."""

IN_SENTENCES = "Answer in a few short, complete sentences, one fact in each.\n{question}"
"""The prompt for claims: of five that were tried on the embedded model, the one with most claims that facts can judge."""

HYBRIDGRAD, STACKED = "hybridgrad", "stacked"

LONGEST = {"answer": 64, "claim": 160}


def calibrate(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows of `question` and `answers` (accepted forms), .jsonl, .csv or .tsv, or hub:NAME@SPLIT; for claims, of "
            "`question` and `facts`, or labelled `claims` of an `answer`, .jsonl. 'bundled': the bundled calibration "
            "questions.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the calibrator.")],
    model: options.Model = options.DEFAULT_MODEL,
    unit: options.Unit = "answer",
    scorer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="hybridgrad; stacked, all numbers of its pass weighed; for whole answers another one, sar or g-nll say.",
        ),
    ] = HYBRIDGRAD,
    samples: options.Samples = None,
    grader: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"{options.GRADER_HELP}. Claims are graded by their facts.")
    ] = None,
    labels: options.Labels = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many questions.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    run: Annotated[Path | None, typer.Option(metavar="FILE", help="The run's file. Default: OUTPUT.run.jsonl.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered together.")] = 16,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens. Default: 64; 160 for claims.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="How to ask; {question} is filled in. Default: for a few words; for claims, sentences."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    keep_paper_profile: Annotated[
        bool, typer.Option("--paper", help="Eq. 6 at the template's (or the profile's) token; choose no other profile.")
    ] = False,
    cache: options.Cache = True,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="From `guardrail sps`: use its token, and choose only the rest of the profile."
        ),
    ] = None,
    chat_template: options.ChatTemplate = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Ask every question, grade the answers, choose the score's profile and fit the isotonic calibrator.

    Of scorers, HybridGrad alone has a profile to choose; the names of the others are in docs/how-to/scorers.md. `stacked`
    falls back to the best single scorer where it is no better (docs/explanation/stacked.md).
    Stopped at any moment, `--resume` goes on where it was.
    """
    from guardrail.datasets.claims import claim_data_hash, load_claim_rows_from
    from guardrail.datasets.questions import data_hash, load_data, texts_of
    from guardrail.errors import DataError
    from guardrail.grading import get_grader
    from guardrail.grading.hand_labels import hand_labels

    prompt = prompt if prompt is not None else DIRECT if unit == "answer" else IN_SENTENCES
    if "{question}" not in prompt:
        raise DataError(f"the prompt {prompt!r} does not say where the {{question}} goes")
    if unit == "claim" and (grader is not None or labels is not None):
        option = f"--labels {labels}" if grader is None else f"--grader {grader}"
        raise DataError(f"{option} is for whole answers; claims are graded by their facts and labels")
    _check_scorer(scorer, unit, samples, "--paper" if keep_paper_profile else "--profile" if profile else None)
    chosen = get_grader(grader or "alias")
    loaded = load_data(data, "calibration", limit) if unit == "answer" else None
    questions = loaded.rows if loaded else ()
    by_hand = hand_labels(questions, labels)
    rows = load_claim_rows_from(data, "calibration", limit) if unit == "claim" else []
    measured = _measured(profile, prompt, system) if profile else None
    if not output.parent.is_dir():
        raise DataError(f"there is no folder {str(output.parent)!r} to write the calibrator to")
    if not output.name or output.is_dir():
        raise DataError(f"the output {str(output)!r} is a folder; give a file")
    run = run or output.with_name(output.name + ".run.jsonl")
    if len({path.resolve() for path in (Path(data), output, run)}) < 3:
        raise DataError("the data, the output and the run must be three files")
    from guardrail.cli import runtime

    local = runtime.load(model, device, dtype, chat_template)
    prior = measured.profile_for(local.identity) if measured else None
    chosen.load()
    from guardrail.cli import figures
    from guardrail.evaluation.fit import fit_calibrator, fit_scorer
    from guardrail.evaluation.fit_stacked import fit_stacked_calibrator
    from guardrail.runs.asking import Asking
    from guardrail.runs.collect import collect
    from guardrail.runs.collect_claims import collect_claims, identity_of
    from guardrail.runs.scorer_pass import ScorerPass, scorer_for
    from guardrail.runs.stacked_readings import claim_readings_of, readings_of

    asking = Asking(prompt, system, max_new_tokens or LONGEST[unit])
    running: dict[str, Any] = {
        "run": run,
        "resume": resume,
        "cache": runtime.record_cache() if cache else None,
        "batch_size": batch_size,
        "progress": runtime.counter("questions answered"),
    }
    fitting: dict[str, Any] = {"command": shlex.join(["guardrail", *(a for a in sys.argv[1:] if a != "--resume")])}
    profiling: dict[str, Any] = {"prior": prior, "choosing": not keep_paper_profile}
    if unit == "claim":
        from guardrail.claims.sentences import SentenceClaims

        extractor = SentenceClaims()
        claims = collect_claims(local, rows, extractor, asking, **running)
        sample, left_out = claims.sample, claims.left_out
        fitting |= {
            "questions": [row.question for row in rows],
            "data": claim_data_hash(rows),
            "grader": "facts",
            "extractor": identity_of(extractor),
            "whole": _at(prior, claims.whole_sample) if len(claims.claims) else None,
        }
        runtime.say("choosing the profile by cross-validation and fitting")
        if scorer == STACKED:
            del fitting["whole"]
            readings = claim_readings_of(claims, asking)
            fit = fit_stacked_calibrator(local, sample, readings, asking, left_out=left_out, **fitting)
        else:
            fit = fit_calibrator(local, _at(prior, sample), asking, left_out=left_out, **profiling, **fitting)
    else:
        other = None
        if scorer not in (HYBRIDGRAD, STACKED):
            other = scorer_for(local, scorer, max_new_tokens=asking.max_new_tokens, samples=samples)
        scorers = ScorerPass({scorer: other}) if other else None
        answers = collect(local, questions, chosen, asking, labels=by_hand, scorers=scorers, **running)
        fitting |= {
            "questions": texts_of(questions),
            "data": data_hash(questions),
            "grader": chosen.name,
            "source": loaded.source if loaded else None,
            "grading": answers.grading.to_dict() if answers.grading else None,
        }
        ungraded = len(questions) - len(answers.records)
        runtime.say_data(loaded, answers.grading)
        if other:
            fit = fit_scorer(local, other, answers, asking, ungraded=ungraded, **fitting)
        else:
            left_out = {"unscored": len(answers.records) - len(answers.scored), "ungraded": ungraded}
            runtime.say("choosing the profile by cross-validation and fitting")
            if scorer == STACKED:
                readings = readings_of(answers, asking)
                fit = fit_stacked_calibrator(local, answers.sample, readings, asking, left_out=left_out, **fitting)
            else:
                fit = fit_calibrator(
                    local, _at(prior, answers.sample), asking, left_out=left_out, **profiling, **fitting
                )
    fit.calibrator.save(output)
    figures.fit(runtime.console(), fit, output)


def _at(prior: Profile | None, sample: Sample) -> Sample:
    """With an SPS profile, only its token is to choose from."""
    return sample.at(prior.token) if prior and len(sample.correct) else sample


def _measured(path: Path, prompt: str, system: str | None) -> SpsProfile:
    """Raises `DataError` for a profile that was measured with another prompt: its token is another one there."""
    from guardrail.calibration.sps_profile import SpsProfile
    from guardrail.errors import DataError

    found = SpsProfile.load(path)
    if (found.prompt, found.system) != (prompt, system):
        raise DataError(
            f"{path} was measured with the prompt {found.prompt!r} and the system message {found.system!r}, not with those of "
            "this calibration; give the same --prompt and --system to both"
        )
    return found


def _check_scorer(scorer: str, unit: str, samples: int | None, profiling: str | None) -> None:
    """Whether the options go together, before anything is loaded."""
    from guardrail.errors import DataError
    from guardrail.scoring.baselines.registry import check_names, keywords_of

    if scorer != STACKED:
        check_names([scorer])
    if scorer not in (HYBRIDGRAD, STACKED) and unit == "claim":
        raise DataError(f"--scorer {scorer} scores whole answers; claims are scored by {HYBRIDGRAD} or {STACKED}")
    if scorer != HYBRIDGRAD and profiling:
        raise DataError(f"{profiling} is about the profile of {HYBRIDGRAD}; {scorer} has none")
    if samples is not None and (scorer == STACKED or "samples" not in keywords_of(scorer)):
        raise DataError(f"--samples {samples} is for scorers that draw samples; {scorer} draws none")
