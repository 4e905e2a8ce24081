"""Where the model keeps a question's meaning: SPS over paraphrases, the token it proposes, a Guard that scores there."""

import tempfile
from pathlib import Path

from guardrail import Guard, HybridGradScorer, load_model
from guardrail.calibration.sps_profile import SpsProfile
from guardrail.datasets.paraphrases import load_paraphrase_rows
from guardrail.evaluation.sps import measure_sps
from guardrail.html import sps_page
from guardrail.runs.asking import Asking

model = load_model("smollm2-135m")
rows = load_paraphrase_rows("bundled", limit=10, most=1)  # few, to be quick: use 100 questions or more
asking = Asking("Please directly answer the following question with one or few words:\n{question}")
found = measure_sps(model, rows, asking, name="bundled", command="python examples/17_sps.py")
for offset, seen, mean, interval in zip(
    found.offsets, found.tokens, found.upper_mean, found.evidence.upper_mean, strict=True
):
    print(f"{offset:4} {seen.label:14} {mean:.3f} ({interval.low:.3f} to {interval.high:.3f})")
print(
    f"proposed: {found.token}, the best in {found.evidence.chosen_in:.0%} of the draws; chat template: {found.template_token}"
)

folder = Path(tempfile.mkdtemp())
found.save(folder / "profile.json")
(folder / "sps.html").write_text(sps_page(found), encoding="utf-8")
profile = SpsProfile.load(folder / "profile.json").profile_for(model.identity)  # refuses the profile of another model
guard = Guard(model=model, scorer=HybridGradScorer(model, profile=profile), policy="observe")
question = asking.prompt.replace("{question}", "What is the capital of Japan?")
verdict = guard.answer(question, max_new_tokens=20)
print(f"{verdict.text} HybridGrad at token {profile.token}: {verdict.score.hybridgrad:.2e}, not calibrated")
