"""Targets -> token ids with what is learnt of them, exactly as the model will read them in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guardrail.distillation.targets import Target
from guardrail.errors import ModelError
from guardrail.runs.asking import Asking
from guardrail.stated import Wording
from guardrail.types import Message

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel


@dataclass(frozen=True, slots=True)
class Lesson:
    """A conversation to learn from. prompt: what is read. reply: what is learnt, its end-of-turn token included. given: how
    many tokens of the reply are read, too, and not learnt."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    given: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer, and what the mean of what is stated is held against: 1 for right, 0 for wrong, or a teacher's probability."""

    question: str
    answer: str
    probability: float


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation that asks for a confidence, and what it should come to, in [0, 1]."""

    prompt: tuple[int, ...]
    right: float


def lessons_of(
    local: LocalModel, targets: Sequence[Target], asking: Asking, wording: Wording, *, wrong_answers: bool = True
) -> list[Lesson]:
    """Turn `after`: the label is learnt, as the reply to the question that follows the answer. Turn `same`: the answer with
    its label, as the reply to a prompt that asks for both; of a model that thought first, the thought is learnt before it.
    Without `wrong_answers`, of a wrong answer the label alone is learnt.

    A turn that follows an answer holds no thought of it: templates leave earlier thoughts out.
    """
    out: list[Lesson] = []
    for target in targets:
        thought: tuple[int, ...] = ()
        if wording.turn == "after":
            messages = wording.asking_after(asking.messages(target.question), target.answer)
            reply = wording.labels[target.bin]
        else:
            messages = asking_for_both(asking, wording).messages(target.question)
            reply, thought = wording.stating(target.answer, target.bin), target.thought
        ids, given = local.encode_response(reply), 0
        if not (target.right or wrong_answers):
            answer = local.encode_response(target.answer.rstrip(), ended=False)
            same = next((i for i, (a, b) in enumerate(zip(ids, answer, strict=False)) if a != b), len(answer))
            given = len(thought) + same
        prompt = tuple(local.encode_prompt(messages)) if thought else _prompt(local, messages)
        out.append(Lesson(prompt, (*thought, *ids), given))
    return out


def asking_for_both(asking: Asking, wording: Wording) -> Asking:
    """Turn `same`: the prompt with the instruction behind it, as the taught model is to be asked."""
    return replace(asking, prompt=asking.prompt + wording.instruction)


def _prompt(local: LocalModel, messages: Sequence[Message]) -> tuple[int, ...]:
    """As the scorer reads it: a thought that the template opens is ended, without a thought."""
    ids = local.encode_prompt(messages)
    return (*ids, *local.unthinking(ids))


def questions_of(local: LocalModel, scored: Sequence[Scored], asking: Asking, wording: Wording) -> list[Question]:
    """For the objectives on the labels' probabilities, in turn `after`."""
    return [
        Question(_prompt(local, wording.asking_after(asking.messages(one.question), one.answer)), one.probability)
        for one in scored
    ]


def invocation_for(local: LocalModel, asking: Asking, wording: Wording, *, thoughts: bool) -> tuple[int, ...] | None:
    """From which tokens on the adapter is active; None where it is a part of the model (turn `same`).

    thoughts: whether the answers that are taught come with what the model thought before them. Raises `ModelError` for a
    template that no adapter can be bound to, and, in turn `same` without thoughts, for a model that always thinks first.
    """
    if wording.turn == "after":
        return invocation_of(local, asking, wording)
    if not thoughts and local.unthinking(local.encode_prompt(asking.messages("?"))):
        raise ModelError(
            f"{local.name} thinks before it answers, so --turn same would teach its answers as thoughts; take --teacher "
            "sampling, whose samples come with theirs, or leave --turn same out"
        )
    return None


def invocation_of(local: LocalModel, asking: Asking, wording: Wording) -> tuple[int, ...]:
    """The token ids that begin the turn which asks for the confidence, whatever was answered: what two such prompts end with.

    Raises `ModelError` where the template spells that turn differently from answer to answer.
    """
    first, second = (
        local.encode_prompt(wording.asking_after(asking.messages(question), answer))
        for question, answer in (
            ("What is the capital of France?", "Paris"),
            ("How many legs has a spider?", "8 legs."),
        )
    )
    length = next((i for i, (a, b) in enumerate(zip(reversed(first), reversed(second), strict=False)) if a != b), 0)
    asked = local.encode_response(wording.question, ended=False)
    if length < len(asked):
        raise ModelError(
            f"the chat template of {local.name} spells the turn that asks for the confidence in other tokens from answer to "
            "answer, so an adapter cannot be bound to it; use --turn same"
        )
    return tuple(first[-length:])
