"""Confidence that a chat model is asked for without having been taught: as a number, with several guesses, or of an answer
that is shown to it as somebody's.

After Xiong et al. 2024 (arXiv 2306.13063) and Tian et al. 2023 (arXiv 2305.14975). `verbalized` asks for one of five labels.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

from guardrail.errors import ScoringError
from guardrail.kernels.memory import TooLargeError
from guardrail.messages import question_of
from guardrail.model.local import LocalModel
from guardrail.model.stated import reply_log_probs
from guardrail.model.token_log_probs import NotFiniteError
from guardrail.plain_text import normalise
from guardrail.scoring.baselines.base import AnswerScorer, TextScorer, UnstatedError
from guardrail.scoring.baselines.verbalized import label_replied, stated_doubt
from guardrail.stated import Wording
from guardrail.types import Message, Trace

PERCENT = (
    "How likely is it that your answer is right? Reply with a number between 0% and 100% only, "
    "without words or explanation."
)
GUESSES = """\
Give your {k} best guesses for the question below, each with the probability that it is right. Write two lines for each, and \
nothing else:
G1: the first guess, as short as possible
P1: the probability that G1 is right, from 0% to 100%
and so on up to G{k} and P{k}.

{question}"""
PROBED = """\
Question: {question}
Possible answer: {text}
How likely is it that the possible answer is right? Reply with {labels}."""
PROBED_PART = """\
Question: {question}
A statement in somebody's answer: {text}
How likely is it that the statement is right? Reply with {labels}."""

_NUMBER = re.compile(r"[~≈]?\s?(\d{1,3}(?:[.,]\d{1,2})?)\s?(%|percent)?\.?", re.IGNORECASE)
_LINE = re.compile(r"([GP])(\d+)\s*:(.*)", re.IGNORECASE)


def probability_in(reply: str) -> float | None:
    """The probability that a reply is, in [0, 1]; None where it says anything else beside.

    A number with a percent sign is a percentage, and so is a whole number; one with a fraction up to 1 is a probability.

        probability_in("90%"), probability_in("0.9"), probability_in("90"), probability_in("between 20 and 40")
        # 0.9, 0.9, 0.9, None
    """
    found = _NUMBER.fullmatch(reply.strip())
    value = _value(found[1], bool(found[2])) if found else None
    return value if value is not None and 0 <= value <= 1 else None


def _value(number: str, percent: bool) -> float | None:
    value = float(number.replace(",", "."))
    if percent or not re.search(r"[.,]", number):
        return value / 100
    return value if value <= 1 else None


def guesses_in(reply: str) -> dict[str, float]:
    """The guesses that a reply to `GUESSES` makes, in normalised words, each with its probability; those without one are left
    out, and of a guess that comes twice the probabilities are added, up to 1."""
    lines = [found.groups() for line in reply.splitlines() if (found := _LINE.match(line.strip()))]
    chances = {number: probability_in(text) for kind, number, text in lines if kind in "Pp"}
    out: dict[str, float] = {}
    for number, text in ((number, text) for kind, number, text in lines if kind in "Gg"):
        guess, chance = normalise(text), chances.get(number)
        if guess and chance is not None:
            out[guess] = min(1.0, out.get(guess, 0.0) + chance)
    return out


class _Elicited(AnswerScorer):
    """Reads the model's greedy reply to a question about its answer; one that states nothing is unscored (`unstated`)."""

    needs = "logits"
    asks = "text"
    unit = "probability that the answer is false"
    longest = 16
    """Of the reply, in tokens."""

    @abstractmethod
    def asking(self, trace: Trace) -> list[Message]:
        """The conversation that asks."""

    @abstractmethod
    def stated(self, reply: str, trace: Trace) -> float | None:
        """The probability that the answer is right, as the reply has it; None where it has none."""

    def uncertainty(self, trace: Trace) -> float:
        messages = self.asking(trace)
        self.prompt_about(messages, [0] * self.longest)  # raises for want of room
        reply = self.model.reply(messages, max_new_tokens=self.longest)
        if reply.fault == "not_finite":
            raise NotFiniteError("NaN or infinity in the model's logits: it cannot be asked")
        if reply.fault == "out_of_memory":
            raise TooLargeError("asking the model about its answer does not fit into memory")
        stated = self.stated(reply.text, trace)
        if stated is None:
            raise UnstatedError(f"the model was asked how likely its answer is, and replied {reply.text[:80]!r}")
        return 1.0 - stated


class VerbalPercent(_Elicited):
    """The number that the model gives in the turn after its answer."""

    name = "verbal-percent"

    def asking(self, trace: Trace) -> list[Message]:
        return [*trace.messages, {"role": "assistant", "content": trace.text}, {"role": "user", "content": PERCENT}]

    def stated(self, reply: str, trace: Trace) -> float | None:
        return probability_in(reply)


class VerbalTopK(_Elicited):
    """The probability of the guess that says what the answer says, among `guesses` that the model makes to the last question by
    itself; 0 where none of them does."""

    name = "verbal-top-k"

    def __init__(self, model: LocalModel, *, guesses: int = 4) -> None:
        super().__init__(model)
        if isinstance(guesses, bool) or not 1 <= guesses <= 20:
            raise ScoringError(f"guesses is {guesses!r}; it must be a number from 1 to 20")
        self.guesses, self.longest = guesses, 24 * guesses

    @property
    def options(self) -> dict[str, Any]:
        return {"guesses": self.guesses}

    def asking(self, trace: Trace) -> list[Message]:
        text = GUESSES.replace("{k}", str(self.guesses)).replace("{question}", question_of(trace.messages))
        return [{"role": "user", "content": text}]

    def stated(self, reply: str, trace: Trace) -> float | None:
        found = guesses_in(reply)
        return found.get(normalise(trace.text), 0.0) if found else None


class SelfProbing(TextScorer):
    """The five labels' probabilities for an answer that the model is shown as somebody's, in a conversation of its own; for a
    claim, of that statement by itself. Of a model behind an endpoint the label that it replies with, as `verbalized`."""

    name = "self-probing"
    needs = "logits"
    asks = "text"
    unit = "probability that the answer is false"

    def __init__(self, model: LocalModel) -> None:
        super().__init__(model)
        self._wording = Wording()
        self._replies = [model.encode_response(label, ended=False) for label in self._wording.labels]

    def doubt(self, trace: Trace, text: str) -> float:
        *most, last = self._wording.labels
        about = {"{labels}": f"{', '.join(most)} or {last}", "{question}": question_of(trace.messages), "{text}": text}
        asked = re.sub(
            r"\{\w+\}", lambda m: about[m[0]], PROBED if text == trace.text else PROBED_PART
        )  # once: texts have braces
        messages = [{"role": "user", "content": asked}]
        if not self.model.has_weights:
            return 1.0 - self._wording.middle(label_replied(self.model, messages, self._wording.labels))
        prompt = self.prompt_about(messages, *self._replies)
        log_probs = reply_log_probs(self.model, prompt, self._replies, None)
        return stated_doubt(log_probs, [self._wording.middle(k) for k in range(len(self._replies))])
