"""Answer -> atomic claims, taken out by a chat model and found again in the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.claims.replies import Fact, find_place, read_facts
from guardrail.claims.sentences import SentenceClaims
from guardrail.errors import ModelError
from guardrail.model.identity import text_hash
from guardrail.types import Aside, Claim, Claims, Message

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel

PROMPT = (
    "List every fact that the text states, each as one short sentence that is understood by itself. Answer with a JSON list "
    'only, each item {"fact": "...", "quote": "..."}; the quote is copied from the text word for word.\n\n'
    "Text: Marie Curie was born in Warsaw in 1867 and won two Nobel Prizes.\n"
    '[{"fact": "Marie Curie was born in Warsaw.", "quote": "Marie Curie was born in Warsaw"}, '
    '{"fact": "Marie Curie was born in 1867.", "quote": "in 1867"}, '
    '{"fact": "Marie Curie won two Nobel Prizes.", "quote": "won two Nobel Prizes"}]\n\nText: '
)
STRICTER = (
    "That is no JSON list. Answer again with nothing but the list: the first character is [, the last is ], each item is "
    '{"fact": "...", "quote": "..."}.'
)


class AtomicClaims:
    """The extractor that asks a chat model for the facts of an answer: one greedy generation more for each answer.

        claims = AtomicClaims(model).extract("Tokyo is the capital of Japan and has 14 million people.")
        [c.text for c in claims.claims]  # ['Tokyo is the capital of Japan.', 'Tokyo has 14 million people.']

    The facts refine the sentences that `SentenceClaims` finds; a sentence from which the model took nothing stays a claim
    itself, so that nothing goes unchecked. Claims may share characters. A fact whose place is not found is an aside
    ("unaligned").

    Args:
        model: The chat model that is asked.
        language: As for `SentenceClaims`.
        threshold: How similar, from 0 to 100, a quotation must be to a part of the answer.
        max_new_tokens: For the list of facts. Facts beyond the limit are missing; their sentences stay claims.
    """

    name = "atomic"

    def __init__(
        self, model: LocalModel, *, language: str = "en", threshold: float = 85.0, max_new_tokens: int = 1024
    ) -> None:
        self.model = model
        self.sentences = SentenceClaims(language)
        self.threshold = threshold
        self.max_new_tokens = max_new_tokens

    @property
    def options(self) -> Mapping[str, Any]:
        """With the model's identity: another one takes out other claims."""
        return {
            **self.sentences.options,
            "threshold": self.threshold,
            "max_new_tokens": self.max_new_tokens,
            "prompt": text_hash(PROMPT + STRICTER),
            "model": self.model.identity.model_dump(exclude={"name", "end_ids"}),
        }

    def extract(self, answer: str, *, question: str = "") -> Claims:
        """The claims of an answer.

        Args:
            answer: The text to take apart.
            question: What it answers. A fact may hold the numbers that the question names.

        Raises:
            ModelError: The model gives no readable list in two tries, or the answer is longer than its context.
        """
        whole = self.sentences.extract(answer, question=question)
        if not whole.claims:
            return whole
        spans = [(c.start, c.end) for c in whole.claims]
        atomic: list[Claim] = []
        lost: list[Aside] = []
        for fact in self._facts(answer):
            place = find_place(fact, answer, spans, question=question, threshold=self.threshold)
            if place is None or not _inside(place, spans):
                lost.append(Aside(fact.fact, None, None, "unaligned"))
            else:
                atomic.append(Claim(fact.fact, *place, kind="atomic"))
        untouched = [c for c in whole.claims if not any(a.start < c.end and c.start < a.end for a in atomic)]
        claims = sorted([*dict.fromkeys(atomic), *untouched], key=lambda c: (c.start, c.end))
        return Claims(tuple(claims), (*whole.asides, *lost))

    def _facts(self, answer: str) -> list[Fact]:
        messages: list[Message] = [{"role": "user", "content": f"{PROMPT}{answer}"}]
        reply = self._reply(messages)
        facts = read_facts(reply)
        if facts is None:
            said: Message = {"role": "assistant", "content": reply or "-"}
            reply = self._reply([*messages, said, {"role": "user", "content": STRICTER}])
            facts = read_facts(reply)
        if facts is None:
            raise ModelError(
                f"{self.model.name} gave no readable list of facts in two tries (last: {' '.join(reply.split())[:80]!r}); "
                "take the claims with the extractor 'sentences', which needs no model, or with a stronger model"
            )
        return facts

    def _reply(self, messages: Sequence[Message]) -> str:
        trace = self.model.generate_batch([messages], max_new_tokens=self.max_new_tokens)[0]
        if trace.finish_reason == "prompt_too_long":
            raise ModelError(
                f"an answer and the request for its facts take {len(trace.prompt_ids)} tokens, more than the context of "
                f"{self.model.name}; take the claims with the extractor 'sentences'"
            )
        return trace.text


def _inside(place: tuple[int, int], spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a place has characters of a claim; a fact taken from a heading or from code alone is not one of the answer's."""
    return any(start < place[1] and place[0] < end for start, end in spans)
