"""Is an answer right? Graders by rules, by sentence embeddings, by an answer-equivalence model, and by a judge.

Each errs in its own way, as its docstring says; `guardrail grade` measures it. docs/results/graders.md has the figures.
"""

from guardrail.grading.protocol import AnswerRow, Grade, Grader
from guardrail.grading.registry import GRADERS, get_grader

__all__ = ["GRADERS", "AnswerRow", "Grade", "Grader", "get_grader"]
