"""The stacked scorer: what each number of an answer's one pass adds to its score."""

from guardrail import load_model
from guardrail.scoring.stacked.model import StackedFeature, StackedModel
from guardrail.scoring.stacked.scorer import StackedScorer

# `guardrail calibrate DATA.jsonl -o c.json` fits this and writes it into the calibrator
stacked = StackedModel(
    intercept=-0.5,
    common_words=("a", "in", "is", "of", "the"),
    features=(
        StackedFeature(name="new_nll", weight=2.0, quantiles=(0.01, 1.5, 3.0, 6.0, 32.0)),
        StackedFeature(name="least_likely_word", weight=1.5, quantiles=(0.01, 1.0, 1.9, 4.0, 23.0)),
        StackedFeature(name="semgrad[-6]", weight=0.2, quantiles=(0.0005, 0.001, 0.002, 0.004, 0.02)),
    ),
)
model = load_model("smollm2-135m")
scorer = StackedScorer(model, stacked)
for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
    trace = model.generate(question, max_new_tokens=24, keep=scorer.keep)
    score = scorer.score_traces([trace])[0]
    added = ", ".join(f"{name} {value:.2f}" for name, value in scorer.explain(trace).items())
    print(f"{trace.text}\n  log-odds of being wrong {score.value:+.2f}: {added}")
