"""How many questions of other data sets a calibrator notices: python -m tests.benchmarks.familiarity [FILE.jsonl ...]

Prints the table of docs/results/familiarity.md: of held-out questions like those of the calibration, and of up to 250 of each
file, the share with a p-value of 0.05 or less, for calibrations of several sizes drawn from the bundled questions. Last, the
same with sentence embeddings in the place of the model's own states.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from guardrail.calibration.familiarity_fit import Familiar, fit_familiarity
from guardrail.datasets.questions import load_data
from guardrail.model.loading import load_model
from guardrail.model.question_states import middle_layer, states_entering
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.retrieval.embedding import SentenceEmbeddings
from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
from guardrail.runs.asking import Asking
from guardrail.runs.prompts import DIRECT
from guardrail.types import UNLIKE

SIZES = (1315, 600, 240, 100)
MOST = 250


def questions(data, split="heldout", most=MOST):
    texts = [row.question for row in load_data(data, split).rows]
    return random.Random(0).sample(texts, min(most, len(texts)))


def shares(known, sets, n):
    """Of each set, the share that is called unlike `n` of the known states."""
    drawn = np.random.default_rng(n).permutation(len(known))[:n]
    fitted = fit_familiarity(
        Familiar(known[drawn], 0, range(n)), np.arange(n) / n, np.random.default_rng(0).random(n) < 0.5
    )
    return {name: float((fitted.p_values(states) <= UNLIKE).mean()) for name, states in sets.items()}


def main(files: list[str]) -> None:
    local = load_model(DEFAULT_MODEL)
    layer, asking = middle_layer(local), Asking(DIRECT)
    known = questions("bundled", "calibration", most=SIZES[0])
    sets = {"held out": questions("bundled", most=400), **{Path(file).stem: questions(file) for file in files}}
    embeddings = SentenceEmbeddings(DEFAULT_EMBEDDING)

    def states(texts):
        return states_entering(local, [local.encode_prompt(asking.messages(text)) for text in texts], layer)

    def embedded(texts):
        return np.asarray(embeddings.embed_documents(texts))

    print(f"| told from | calibration | {' | '.join(sets)} |")
    print("| --- " * (2 + len(sets)) + "|")
    for told_from, reduce in ((f"states entering layer {layer}", states), ("sentence embeddings", embedded)):
        own, others = reduce(known), {name: reduce(texts) for name, texts in sets.items()}
        for n in SIZES if reduce is states else SIZES[:1]:
            found = shares(own, others, n)
            print(f"| {told_from} | {n} | {' | '.join(f'{share:.3f}' for share in found.values())} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
