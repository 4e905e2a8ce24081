"""Does Semantic Volume tell ambiguous questions from clear ones: python -m tests.benchmarks.ambiguity [SAMPLES]

Prints the figures of docs/results/papers.md, "Ambiguous questions": AUROC over `PAIRS`, each a clear question and one that
leaves out what makes it clear, beside a control that sees no model: the fewer words, the more ambiguous. Embedded model.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from guardrail.calibration.metrics import auroc, bootstrap_interval
from guardrail.messages import as_messages
from guardrail.model.loading import load_model
from guardrail.model.spec import DEFAULT_MODEL
from guardrail.pipeline.questions import ambiguity_scorer
from guardrail.policy import Policy

PAIRS = (
    ("Who won the men's football World Cup in 2018?", "Who won the cup?"),
    ("When was Johann Wolfgang von Goethe born?", "When was he born?"),
    ("What is the capital of the country Georgia?", "What is the capital of it?"),
    ("Who wrote the play Hamlet?", "Who wrote it?"),
    ("How high is Mount Everest above the sea?", "How high is it?"),
    ("What does the chemical symbol Fe stand for?", "What does it stand for?"),
    ("In which year did the Second World War end?", "In which year did it end?"),
    ("Who was the first president of the United States?", "Who was the first one?"),
    ("How many legs does a spider have?", "How many does one have?"),
    ("Which planet is the largest of the solar system?", "Which one is the largest?"),
    ("What language do people speak in Brazil?", "What do people speak there?"),
    ("At what temperature does water boil at sea level?", "When does it boil?"),
    ("Who painted the Mona Lisa?", "Who painted that?"),
    ("What is the currency of Japan?", "What do they pay with?"),
    ("How long is a marathon race in kilometres?", "How long is the race?"),
    ("Which organ of the body pumps the blood?", "Which one pumps?"),
)


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    text = (
        f"version: 1\nname: measured\nambiguity: {{above: 0, samples: {samples}}}\nrules:\n"
        "  - {name: unclear, when: {ambiguous: true}, then: ask_back}\n"
    )
    made = ambiguity_scorer(load_model(DEFAULT_MODEL), Policy.from_text(text, "measured"))
    assert made is not None
    questions = [question for pair in PAIRS for question in pair]
    clear = np.tile([True, False], len(PAIRS))
    began = time.process_time()
    scores = [made.scores([as_messages(question)])[0] for question in questions]
    seconds = (time.process_time() - began) / len(questions)
    volumes = np.array([score.value for score in scores])
    pairs = np.arange(len(PAIRS)).repeat(2)
    for name, number in (("semantic-volume", volumes), ("fewer words", np.array([-len(q.split()) for q in questions]))):
        # pairs are drawn together: their questions are about the same thing
        found = bootstrap_interval(lambda u, c: auroc(u, c), number, clear, groups=pairs)
        print(f"{name}: AUROC {found.value:.3f} ({found.low:.3f} to {found.high:.3f})")
    for what, those in (("clear", clear), ("ambiguous", ~clear)):
        print(f"{what}: quartiles {', '.join(f'{q:.2f}' for q in np.quantile(volumes[those], [0.25, 0.5, 0.75]))} nats")
    print(f"{samples} wordings; {seconds:.1f} CPU seconds a question")


if __name__ == "__main__":
    main()
