"""Targets -> what is read and what is learnt, in token ids."""

from __future__ import annotations

import pytest

from guardrail.distillation.lessons import invocation_for, lessons_of
from guardrail.distillation.targets import Target
from guardrail.errors import ModelError
from guardrail.runs.asking import Asking
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.stated import Wording
from guardrail.testing import CHATML
from tests.helpers.thinkers import thinker


def test_thinking_models_learn_where_they_are_read():
    local = thinker("qwen", CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"))
    assert local.unthinking(local.encode_prompt("Who?"))
    lessons = lessons_of(local, [Target("Who?", "Goethe", 3, True, 0.7)], Asking("{question}"), Wording())
    assert VerbalizedScorer(local).prompt_about(
        Wording().asking_after(({"role": "user", "content": "Who?"},), "Goethe")
    ) == list(lessons[0].prompt)
    with pytest.raises(ModelError, match="thinks before it answers"):
        invocation_for(local, Asking("{question}"), Wording(turn="same"))
