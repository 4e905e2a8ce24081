"""Targets -> what is read and what is learnt, in token ids."""

from __future__ import annotations

import pytest

from guardrail.datasets.questions import QuestionRow
from guardrail.distillation.candidates import candidates_of, sampled
from guardrail.distillation.lessons import invocation_for, lessons_of
from guardrail.distillation.targets import Target, targets_of
from guardrail.errors import ModelError
from guardrail.grading.rules import AliasGrader
from guardrail.runs.asking import Asking, RunOptions
from guardrail.scoring.baselines.equivalence import SameWords
from guardrail.scoring.baselines.samples import Sampling
from guardrail.scoring.baselines.verbalized import VerbalizedScorer
from guardrail.stated import Wording
from guardrail.testing import CHATML
from tests.helpers.thinkers import saying, thinker


def test_thinking_models_learn_where_they_are_read():
    local = thinker("qwen", CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"))
    assert local.unthinking(local.encode_prompt("Who?"))
    lessons = lessons_of(local, [Target("Who?", "Goethe", 3, True, 0.7)], Asking("{question}"), Wording())
    assert VerbalizedScorer(local).prompt_about(
        Wording().asking_after(({"role": "user", "content": "Who?"},), "Goethe")
    ) == list(lessons[0].prompt)
    with pytest.raises(ModelError, match="thinks before it answers"):
        invocation_for(local, Asking("{question}"), Wording(turn="same"), thoughts=False)
    assert invocation_for(local, Asking("{question}"), Wording(turn="same"), thoughts=True) is None


def test_a_thought_is_learnt_before_the_answer_that_came_of_it(monkeypatch):
    """Turn `same`; and what is learnt is what generation would read back as thought, answer and confidence."""
    local = thinker("qwen", CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"))
    saying(local, "He did.\n</think>\nGoethe", monkeypatch)
    asking, wording = Asking("{question}", max_new_tokens=60), Wording(turn="same")
    (record,) = sampled(
        local, [QuestionRow("Who?", ("Goethe",))], asking, Sampling(2, 1.0), SameWords(), RunOptions(cache=False)
    )
    assert record["samples"] == ["Goethe", "Goethe"]
    (candidate,) = candidates_of([record], AliasGrader())
    assert local.tokenizer.decode(candidate.thought) == "He did.\n</think>\n"
    (target,), _ = targets_of([candidate], wording, chosen="none")
    (lesson,) = lessons_of(local, [target], asking, wording)
    assert list(lesson.prompt) == local.encode_prompt([{"role": "user", "content": "Who?" + wording.instruction}])
    split = local.thinking.split(lesson.reply, opened=True)
    assert split.text == "He did."
    answer = local.tokenizer.decode(lesson.reply[split.start :], skip_special_tokens=True)
    assert answer == "Goethe (with very high confidence)"
    after = lessons_of(local, [target], asking, Wording())[0]
    assert local.tokenizer.decode(after.reply, skip_special_tokens=True) == "very high"
    assert "He did" not in local.tokenizer.decode(after.prompt)
