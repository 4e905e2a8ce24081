"""A model that is merely asked how sure it is. Teaching it takes minutes: see docs/how-to/distill.md."""

from guardrail import load_model
from guardrail.scoring.registry import scorer
from guardrail.stated import Wording

model = load_model("smollm2-135m")
stated = scorer("verbalized", model)

for question in ("What is the capital of France?", "What is the capital of Burkina Faso?"):
    trace = model.generate(question, max_new_tokens=20)
    (score,) = stated.score_traces([trace])
    print(
        f"{trace.text}\n  states a confidence of {1 - score.value:.2f}"
    )  # 0.1 to 0.9; of no use until it is calibrated

# guardrail distill questions.jsonl -o taught    teaches it, in a turn of its own; "taught" is then a model's name.
# A model that was taught to end its answers with a confidence has it taken out of what is shown:
print(Wording(turn="same").taken_from("Goethe (with very high confidence)"))
