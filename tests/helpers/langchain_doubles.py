"""What the tests of the LangChain surfaces share: a guard with scores that the test sets, and a chat model that is foreign."""

from __future__ import annotations

import json
from functools import cache

from langchain_core.documents import Document
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever

from guardrail import Guard, IsotonicCalibrator
from guardrail.calibration.provenance import Provenance
from guardrail.langchain.metadata import shown_hash
from guardrail.types import Score

SURE, UNSURE = -1.2, 1.2  # raw scores; calibrated to about 0.9 and 0.1


class Fixed:
    """A scorer double: the score of an answer is the value for the first key that the answer holds; all else is real."""

    name, keep = "fixed", None
    options: dict = {}

    def __init__(self, usual, by_text=None, evidence=None):
        self.usual, self.by_text, self.evidence = usual, by_text or {}, evidence

    def score_traces(self, traces):
        return [self._score(t) for t in traces]

    def _score(self, trace):
        if not trace.text.strip():
            return Score.none("empty_answer", "nothing was said", name=self.name)
        value = next((v for key, v in self.by_text.items() if key in trace.text), self.usual)
        if self.evidence is not None and any("<reference>" in str(m["content"]) for m in trace.messages):
            value = self.evidence
        return Score(value, value, value, 1.0, 2.0, len(trace.response_ids), name=self.name, number=value)


@cache
def calibrator(local):
    """Scores below 0 are mostly right, above 0 mostly wrong. One for each model: fitting takes a quarter of a second."""
    scores = [-1 - i / 100 for i in range(50)] + [1 + i / 100 for i in range(50)]
    correct = [i % 10 != 0 for i in range(50)] + [i % 10 == 0 for i in range(50)]
    provenance = Provenance(
        model=local.identity, scorer="fixed", profile={}, prompt="{question}", system=None, data="x",
        n=100, accuracy=0.5, created="2026-01-01", command="test", versions={}, grader="exact",
        generation={"max_new_tokens": 12},
    )  # fmt: skip
    return IsotonicCalibrator().fit(scores, correct, provenance=provenance)


def judging(local, usual, by_text=None, *, evidence=None, policy="default", **options):
    """A guard whose scores are set: `usual`, or by what the answer holds, or `evidence` once a passage is in the prompt."""
    return Guard(
        model=local, scorer=Fixed(usual, by_text, evidence), calibrator=calibrator(local), policy=policy, **options
    )


def let_through(message):
    """The message as a guard would have let it out."""
    verdict = {"version": 1, "action": "answer", "enforced": True}
    verdict["text_hash"] = shown_hash(message.text, message.tool_calls)
    return message.model_copy(update={"response_metadata": {**message.response_metadata, "guardrail": verdict}})


class Passages(BaseRetriever):
    """Finds the same passages every time and remembers what it was asked."""

    found: list[str] = ["A passage."]
    queries: list[str] = []

    def _get_relevant_documents(self, query, *, run_manager):
        self.queries.append(query)
        return [Document(page_content=text) for text in self.found]


class Foreign(BaseChatModel):
    """A chat model that is none of ours: streams its scripted messages word by word; the last one is repeated."""

    script: list
    calls: list = []

    @property
    def _llm_type(self):
        return "foreign"

    def _next(self, messages):
        said = self.script[min(len(self.calls), len(self.script) - 1)]
        self.calls.append(list(messages))
        if isinstance(said, Exception):
            raise said
        return AIMessage(said) if isinstance(said, str) else said

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self._next(messages).model_copy(deep=True))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        said = self._next(messages)
        words = said.content.split(" ") if said.content else [""]
        for i, word in enumerate(words):
            last = i == len(words) - 1
            chunk = AIMessageChunk(word + ("" if last else " "))
            if last:
                calls = [
                    {"name": c["name"], "args": json.dumps(c["args"]), "id": c["id"], "index": 0}
                    for c in said.tool_calls
                ]
                chunk = AIMessageChunk(word, tool_call_chunks=calls, chunk_position="last")
            yield ChatGenerationChunk(message=chunk)

    def bind_tools(self, tools, **kwargs):
        return self.bind(**{k: v for k, v in kwargs.items() if v is not None})
