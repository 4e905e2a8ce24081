"""A model and questions -> an adapter that states how sure the model is: sample, annotate, train."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from guardrail.datasets.questions import data_hash, leak_digests, load_data
from guardrail.distillation.by_gradients import by_gradients
from guardrail.distillation.candidates import answered, candidates_of, check_enough, same_by, sampled
from guardrail.distillation.card import model_card
from guardrail.distillation.lessons import Scored, asking_for_both, invocation_for, lessons_of, questions_of
from guardrail.distillation.settings import (
    BY_LIKELIHOOD,
    Objective,
    Teacher,
    Training,
    checked_objective,
    only_for_samples,
)
from guardrail.distillation.targets import Map, Target, Teaching, in_words, only_graded, self_evaluations, targets_of
from guardrail.errors import DataError, GuardrailError
from guardrail.evaluation.setting import ModelSource, StrPath, asks_question, grader_from, model_from, silent
from guardrail.files import write_whole
from guardrail.grading import Grader, get_grader
from guardrail.model.spec import ALIASES
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.progress import Say, counter
from guardrail.runs.prompts import DIRECT
from guardrail.scoring.registry import DEFAULT
from guardrail.stated import FILE, StatedFile, Turn, Wording

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

Stage = Literal["sample", "annotate", "train"]

SAMPLES, TARGETS, RECORD = "samples.run.jsonl", "targets.jsonl", "distillation.json"
_BATCH = 8  # greedy answers; samples are a batch each


@dataclass(frozen=True, slots=True)
class Distilled:
    """What a distillation came to.

    Attributes:
        folder: With the adapter, what it was made from, and how.
        stage: The last that was done.
        teaching: What it was taught; None before `annotate`.
        loss: Of the last steps; None before `train`.
    """

    folder: Path
    stage: Stage
    teaching: Teaching | None = None
    loss: float | None = None


def distill(
    model: ModelSource,
    data: StrPath,
    output: StrPath,
    *,
    teacher: Teacher = "sampling",
    turn: Turn | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    equivalence: str | None = None,
    chosen: Map | None = None,
    wrong_per_question: int | None = 1,
    objective: Objective | None = None,
    answers_from: ModelSource | None = None,
    wording: Wording | None = None,
    grader: Grader | str | None = None,
    limit: int | None = None,
    prompt: str = DIRECT,
    system: str | None = None,
    max_new_tokens: int = 64,
    training: Training | None = None,
    until: Stage = "train",
    seed: int = 0,
    resume: bool = False,
    cache: bool = True,
    command: str = "",
    progress: Say | None = None,
) -> Distilled:
    """Teach a model to state its own calibrated confidence (Uncertainty Distillation).

    The stages leave their files in `output`, and each goes on where it was stopped: `samples.run.jsonl`, `targets.jsonl`,
    checkpoints, then the adapter itself, which `load_model` takes with its base.

    Args:
        model: What is taught. It is as before afterwards.
        data: Questions with accepted answers, which the model has not seen, as `calibrate` takes them.
        output: The adapter's folder.
        teacher: Who says how sure the model is.
        turn: `after` teaches the confidence as a turn of its own, by an adapter that is active on that turn alone; the answers
            are the base model's. `same` teaches it as the end of the answer, as the paper does; answers may change. None takes
            the wording's, which is `after` unless it says otherwise.
        samples: Of each question, for the sampling teacher; None for 20.
        temperature: Of the samples; None for 1.
        equivalence: When two samples say the same: "normalised" (the same words, for short answers; so for None),
            "embedding", "nli:MODEL", or "judge:MODEL", a language model as graders name it.
        chosen: How shares become probabilities; None calibrates them where their ECE shows that it is needed.
        wrong_per_question: Learn at most so many wrong answers a question; None for all.
        objective: What the training makes small; None for `likelihood`, and `brier` for the teacher `labels`.
        answers_from: For the objective `epicar`, the adapter of the round before, whose answers are learnt; None for the
            model's own.
        wording: What is said, and how it is asked for; None for five labels.
        grader: As in `calibrate`.
        limit: Use at most so many questions, drawn at random.
        prompt: How questions are put; `{question}` is filled in.
        system: The system message.
        max_new_tokens: The longest answer, in tokens.
        training: How the adapter is trained.
        until: The last stage to do.
        seed: Of samples and training.
        resume: Go on with what stands in `output`.
        cache: Keep samples in the user's cache folder.
        command: What the record says it was made by.
        progress: Called with one line before each slow step.

    Returns:
        What was taught, and where it is.

    Raises:
        DataError: For data, files or options that do not go together; for too few answers, or too few right or wrong ones.
        MissingExtraError: Without the extra `distill`.
        ModelError: For a template to which no adapter can be bound.
    """
    say, folder = progress or silent, Path(output)
    if teacher not in get_args(Teacher):
        raise DataError(f"there is no teacher {teacher!r}; the teachers are {', '.join(get_args(Teacher))}")
    if wording is not None and turn not in (None, wording.turn):
        raise DataError(f"turn is {turn!r}, and the wording's {wording.turn!r}; give one of them")
    said = wording or Wording(turn=turn or "after")
    how = training or Training(seed=seed)
    aim = checked_objective(objective, teacher, said.turn, how.batch_size)
    if answers_from is not None and aim != "epicar":
        raise DataError("--answers-from is for the rounds of --objective epicar; leave it out")
    only_for_samples(
        teacher, samples=samples, temperature=temperature, equivalence=equivalence, chosen=chosen,
        wrong_per_question=wrong_per_question,
    )  # fmt: skip
    samples, temperature = 20 if samples is None else samples, 1.0 if temperature is None else temperature
    equivalence = equivalence or "normalised"
    asks_question(prompt)
    if until == "train":
        from guardrail.distillation.training import require_extra

        require_extra()
    chosen_grader = grader_from(grader) or get_grader("alias")
    loaded = load_data(os.fspath(data), "calibration", limit)
    _open(folder, resume)
    local = model_from(model, say)
    if local.wording is not None:
        raise DataError(f"{local.name} states its confidence already; teach its base model")
    if hasattr(local.model, "peft_config"):
        raise DataError(
            f"{local.name} carries an adapter already; merge it (peft's merge_and_unload), save that and teach it"
        )
    chosen_grader.load()

    asking = Asking(prompt, system, max_new_tokens)
    invocation = invocation_for(local, asking, said, thoughts=teacher == "sampling")
    if until == "train":
        from guardrail.distillation.adapting import require_adaptable

        require_adaptable(local, invocation)
    asked: LocalModel | None = None
    options = RunOptions(folder / SAMPLES, resume, cache, 1, counter("questions sampled", say))
    if teacher == DEFAULT:
        candidates = by_gradients(local, data, loaded, chosen_grader, asking, options, limit, say)
    elif teacher == "labels":
        how_asked = asking
        if answers_from is not None:
            asked, how_asked = _of_the_round_before(answers_from, said, asking, say)
        answers = answered(asked or local, loaded.rows, how_asked, replace(options, batch_size=_BATCH))
        candidates = candidates_of(answers, chosen_grader, seed=seed)
    else:
        from guardrail.scoring.baselines.samples import Sampling

        drawing, same = Sampling(samples, temperature), same_by(equivalence)
        records = sampled(local, loaded.rows, asking, drawing, same, options, seed=seed)
        candidates = candidates_of(records, chosen_grader, seed=seed)
    if until == "sample":
        return Distilled(folder, "sample")

    check_enough(candidates)
    targets: list[Target] = []
    if aim == "epicar":
        targets, teaching = self_evaluations(candidates, said)
        _write_rows(folder / TARGETS, targets, said)
    elif teacher == "labels":
        teaching = only_graded(candidates, said)
    else:
        applied: Map | None = "none" if teacher == DEFAULT else chosen
        targets, teaching = targets_of(candidates, said, chosen=applied, wrong_per_question=wrong_per_question)
        _write_rows(folder / TARGETS, targets, said)
    say(in_words(teaching, said))
    if until == "annotate":
        return Distilled(folder, "annotate", teaching)

    from guardrail.distillation.training import finish

    scored = [Scored(t.question, t.answer, t.probability) for t in targets] or [
        Scored(c.question, c.answer, float(c.right)) for c in candidates
    ]
    taught = targets if aim in BY_LIKELIHOOD else scored
    loss = _train(local, taught, aim, asking, said, invocation, how, folder, say, resume)
    record = {
        "command": command,
        "data": data_hash(loaded.rows),
        "source": loaded.source,
        "model": local.identity.model_dump(),
        "asking": asking.to_dict(),
        "grader": chosen_grader.name,
        "teacher": {"kind": teacher, "samples": samples, "temperature": temperature, "equivalence": equivalence}
        if teacher == "sampling"
        else {"kind": teacher},
        "objective": aim,
        "answers_from": None if asked is None else asked.identity.model_dump(),
        "wrong_per_question": None if teacher == "labels" else wrong_per_question,
        "teaching": teaching.to_dict(),
        "training": how.to_dict(),
        "loss": loss,
        "versions": {name: version(name) for name in ("hybridgrad-guardrail", "torch", "transformers", "peft", "trl")},
    }
    stated = StatedFile(base=_base(local), wording=said, taught=leak_digests(row.question for row in loaded.rows))
    write_whole(folder / FILE, stated.model_dump_json(indent=1) + "\n", "the wording", DataError)
    write_whole(folder / RECORD, json.dumps(record, indent=1) + "\n", "the record", DataError)
    write_whole(folder / "README.md", model_card(record, said), "the model card", DataError)
    finish(folder)
    return Distilled(folder, "train", teaching, loss)


def _train(
    local: LocalModel,
    taught: Sequence[Target] | Sequence[Scored],
    aim: Objective,
    asking: Asking,
    wording: Wording,
    invocation: tuple[int, ...] | None,
    training: Training,
    folder: Path,
    say: Say,
    resume: bool,
) -> float:
    from guardrail.distillation.labels import Labels
    from guardrail.distillation.training import train_labels, train_lessons, unwritten

    say("training the adapter")
    try:
        targets = [one for one in taught if isinstance(one, Target)]
        if targets or invocation is None:
            lessons = lessons_of(local, targets, asking, wording, wrong_answers=aim != "epicar")
            return train_lessons(local, lessons, folder, training, invocation, _known_to_peft(local), say, resume)
        scored = [one for one in taught if isinstance(one, Scored)]
        labels = Labels.of(
            [local.encode_response(label, ended=False) for label in wording.labels],
            [wording.middle(k) for k in range(len(wording.labels))],
        )
        questions = questions_of(local, scored, asking, wording)
        return train_labels(
            local, questions, labels, aim, folder, training, invocation, _known_to_peft(local), say, resume
        )
    except GuardrailError:
        raise
    except Exception as error:
        reason = unwritten(error)
        if reason is None:
            raise  # torch's own: out of memory, say
        raise DataError(
            f"cannot write the adapter to {str(folder)!r}: {reason}; what was trained up to the last whole checkpoint is kept: "
            "make room, and go on with --resume"
        ) from error


def _of_the_round_before(source: ModelSource, wording: Wording, asking: Asking, say: Say) -> tuple[LocalModel, Asking]:
    """The model that answers, and how it is to be asked. Raises `DataError` for one that was not taught the same words."""
    before = model_from(source, say)
    if before.wording != wording:
        raise DataError(
            f"--answers-from {before.name} is no adapter that was taught with --turn same in the same words"
        )
    return before, asking_for_both(asking, wording)


def _open(folder: Path, resume: bool) -> None:
    """Make the folder. Raises `DataError` where it cannot be made, or holds an adapter that would be overwritten."""
    if (folder / "adapter_config.json").is_file() and not resume:
        raise DataError(f"{folder} holds an adapter; give another folder, or --resume to train it again from its files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error


def _base(local: LocalModel) -> str:
    """The name under which guardrail finds the base again."""
    return local.name if local.name in ALIASES or not Path(local.name).exists() else str(Path(local.name).resolve())


def _known_to_peft(local: LocalModel) -> str:
    """The name under which peft finds it; of the embedded model the same one on the hub, whose weights are not quantised."""
    return ALIASES[local.name].hub if local.name in ALIASES else _base(local)


def _write_rows(path: Path, targets: Sequence[Target], wording: Wording) -> None:
    rows = [
        {"question": t.question, "answer": t.answer, "label": wording.labels[t.bin], "right": t.right} for t in targets
    ]
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "the targets", DataError)
