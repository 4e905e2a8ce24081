"""What a chat model that nobody looks into states of its answers: python -m tests.benchmarks.stated [QUESTIONS] [DATA ...]

The embedded model behind LangChain answers so many questions (60) of each file ("bundled": the held-out ones), asked for its
confidence in a turn of its own and then at the end of its answer. Prints a line of docs/how-to/stated.md for each: how many
answers state one, how many of these are right, and how the stated confidence ranks them, beside a reader of the texts alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from guardrail.errors import CalibrationError
from guardrail.evaluation.bench import Bench
from guardrail.evaluation.compare import bench
from guardrail.langchain.stated import StatedModel
from guardrail.langchain.unguarded import UnguardedChat
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL

TURNS = ("after", "same")
LONGEST = 32


def main(count: int = 60, files: tuple[str, ...] = ("bundled",)) -> None:
    chat = UnguardedChat(local=load_model(DEFAULT_MODEL), max_tokens=LONGEST)
    print("| questions | turn | states one | right | AUROC | text alone |\n| --- | --- | --- | --- | --- | --- |")
    for data in files:
        for turn in TURNS:
            model = StatedModel(chat, turn=turn)
            try:
                cells = _cells(bench(model, data, ["verbalized"], limit=count, max_new_tokens=LONGEST))
            except CalibrationError as error:  # too few that state one
                cells = [str(error).partition(";")[0], "", "", ""]
            print(f"| {Path(data).stem} | `{turn}` | {' | '.join(cells)} |", flush=True)


def _cells(found: Bench) -> list[str]:
    row, text = found.row("verbalized"), found.controls
    estimates = [found.accuracy, row.auroc, *([text.text.auroc] if text is not None else [])]
    told = [f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})" for e in estimates]
    return [f"{found.asked - row.unscored} of {found.asked}", *told]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *([tuple(sys.argv[2:])] if sys.argv[2:] else []))
