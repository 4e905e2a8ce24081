"""A promise about claims: keep those from a confidence on that leaves few answers with a wrong one; and its report."""

import json
import tempfile
from pathlib import Path

import guardrail
from guardrail.data import load_claim_questions

asked = [q for q in load_claim_questions("heldout") if q.kind == "country" and q.facts[0]["about"] == ["capital"]][:24]
rows = []
for i, q in enumerate(asked):  # answers that a person has judged; yours are the model's own, so leave `answer` out
    right, wrong = q.facts[0]["values"][0], asked[i - 5].facts[0]["values"][0]
    country = q.question.split("?")[0].removeprefix("1. What is the capital of ")
    said = f"The capital of {country} is {wrong if i % 3 == 0 else right}."
    rows.append({"question": q.question, "answer": said, "claims": [{"text": said, "correct": i % 3 != 0}]})
folder = Path(tempfile.mkdtemp())
(folder / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

# confidence=None promises an average. With confidence 0.95, 0.8 would take at least 14 answers without a wrong claim.
options = {"all_right": 0.8, "confidence": None, "output": folder / "claims.yaml", "cache": False}
found = guardrail.tune_claims("smollm2-135m", folder / "judged.jsonl", **options)
print(f"{found.answers} answers; {found.unguarded.lost.value:.0%} keep a wrong claim where every claim is kept")
if found.reached:
    kept, test = found.kept, found.control.chosen
    print(
        f"kept from {test.threshold:.3f} on: {kept.kept} of {kept.claims} claims, {kept.lost.value:.0%} with a wrong one"
    )
    print(found.policy.claims_proof.in_words())
    run, page = folder / "claims.yaml.run.jsonl", folder / "claims.html"
    asked_again = {"data": folder / "judged.jsonl", "policies": [folder / "claims.yaml"]}  # a real one: other questions
    made = guardrail.report(run, page, unit="claim", **asked_again).figures
    print(f"reported: {len(made.policies)} policy, {page.stat().st_size // 1024} KiB")
else:
    print(f"unreachable: the best that is shown is {1 - found.control.best.bound:.2f}")
