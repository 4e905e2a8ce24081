"""A LangChain chat model without weights that says what a function says, and states a confidence."""

from __future__ import annotations

import json
import re

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from guardrail.stated import Wording


class Stating(BaseChatModel):
    """says: messages -> a text, a message, or an exception to raise. asked: what it was asked, with the options."""

    says: object
    model_name: str = "stating-1"
    asked: list = []

    @property
    def _llm_type(self):
        return "stating"

    def _said(self, messages, options):
        self.asked.append((list(messages), options))
        out = self.says(messages)
        if isinstance(out, Exception):
            raise out
        return AIMessage(out) if isinstance(out, str) else out

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = self._said(messages, {**kwargs, **({"stop": stop} if stop else {})})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for word in re.findall(r"\S+\s*", self._said(messages, kwargs).text) or [""]:
            yield ChatGenerationChunk(message=AIMessageChunk(word))


class OtherStating(Stating):
    """The same model under another class."""


def sums(count=40):
    """Rows of questions with answers; the first half is easy."""
    return [{"question": f"What is {n} plus {n}?", "answers": [str(2 * n)]} for n in range(10, 10 + count)]


def knows_sums(messages):
    """Right and sure of the sums up to 29 + 29, wrong and unsure of the others, as far as it is asked; one in ten is not so."""
    n = int(re.search(r"What is (\d+) plus", " ".join(str(m.content) for m in messages))[1])
    easy = (n < 30) != (n % 10 == 3)
    label = "very high" if n < 30 else "low"
    if messages[-1].content == Wording().question:
        return f"{label.title()}."
    answer = str(2 * n if easy else 2 * n + 1)
    return f"{answer} (with {label} confidence)" if "Behind your answer" in messages[-1].content else answer


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
