"""The score alone, on any transformers model and answers that exist already: higher = more uncertain."""

from guardrail import HybridGradScorer, load_model

local = load_model("smollm2-135m")
scorer = HybridGradScorer(local)  # the paper's formula at the token that the chat template names
prompt = local.encode_prompt("What is the capital of France?")
answers = ["Paris", "Lyon", "Bokassa"]
scores = scorer.score_batch([(prompt, local.encode_response(answer)) for answer in answers])
for answer, score in zip(answers, scores, strict=True):
    print(f"{answer:8} hybridgrad {score.hybridgrad:.2e}  semgrad {score.semgrad:.2e}  paragrad {score.paragrad:.2e}")
