"""`guardrail demo`: the main job on the embedded model, every action once or more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from guardrail.waiting import seconds_since

if TYPE_CHECKING:
    from guardrail.types import Verdict

# Picked so that every action occurs, and one confident mistake: answers of such a confidence are wrong about every second time.
# What happens to them is not scripted. Burkina Faso and the mountain of Japan are among the calibration questions.
QUESTIONS = (
    "What is the capital of Japan?",
    "In which year did the Battle of Waterloo take place?",
    "What is the capital of Burkina Faso?",
    "Who painted The Night Watch?",
    "Which planet is closest to the Sun?",
    "What is the highest mountain of Japan?",
    "What is the boiling point of ethanol in degrees Celsius?",
    "What is the next prime number after 23?",
)

WIDTH = 100  # also in a wider terminal, and in a file: lines that are read side by side
NEXT = """
[bold]What to try next[/]
  a question of your own:
    guardrail ask "Who wrote Faust?"
  each claim of a long answer by itself, as a page:
    guardrail ask "Who was Marie Curie?" --claims --html claims.html
  a calibrator for your own model:
    guardrail init start
  what is installed, and how a command works:
    guardrail doctor; guardrail COMMAND --help"""


def demo(
    no_retrieval: Annotated[bool, typer.Option("--no-retrieval", help="Without the bundled passages.")] = False,
) -> None:
    """Answer a handful of questions with the embedded model, each with its confidence and the policy's action."""
    from rich.console import Console

    from guardrail.cli import options, runtime

    started = time.perf_counter()
    local = runtime.load(options.DEFAULT_MODEL, "cpu", None, None)
    from guardrail.cli import render
    from guardrail.data import passages_path
    from guardrail.guard import Guard
    from guardrail.retrieval import load_retriever

    retriever = None
    if not no_retrieval:
        runtime.say("indexing the bundled passages")
        retriever = load_retriever(passages_path(), progress=runtime.passage_counter())
    guard = Guard(model=local, policy="default", retriever=retriever)
    guard.answer("Warm-up: the first pass is slower.", max_new_tokens=8)
    verdicts: list[tuple[str, Verdict]] = []
    for number, question in enumerate(QUESTIONS, start=1):
        runtime.say(f"question {number} of {len(QUESTIONS)}: {question}")
        verdicts.append((question, guard.answer(question)))
    console = Console(highlight=False, emoji=False, width=min(runtime.console().width, WIDTH))
    render.demo(console, verdicts, seconds_since(started))
    console.print(NEXT)
