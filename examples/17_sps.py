"""Where the model keeps a question's meaning: SPS over paraphrases, the token it proposes, a Guard that scores there."""

import tempfile
from pathlib import Path

import guardrail
from guardrail.calibration.sps_profile import SpsProfile

model = guardrail.load_model("smollm2-135m")
folder = Path(tempfile.mkdtemp())
found = guardrail.sps(  # few, to be quick: use 100 questions or more
    model, "bundled", folder / "profile.json", html=folder / "sps.html", limit=10, paraphrases=1
)
for offset, seen, mean, interval in zip(
    found.offsets, found.tokens, found.upper_mean, found.evidence.upper_mean, strict=True
):
    print(f"{offset:4} {seen.label:14} {mean:.3f} ({interval.low:.3f} to {interval.high:.3f})")
print(
    f"proposed: {found.token}, the best in {found.evidence.chosen_in:.0%} of the draws; chat template: {found.template_token}"
)

profile = SpsProfile.load(folder / "profile.json").profile_for(model.identity)  # refuses the profile of another model
scorer = guardrail.HybridGradScorer(model, profile=profile)
guard = guardrail.Guard(model=model, scorer=scorer, policy="observe")
verdict = guard.answer(found.prompt.replace("{question}", "What is the capital of Japan?"), max_new_tokens=20)
print(f"{verdict.text} HybridGrad at token {profile.token}: {verdict.score.value:.2e}, not calibrated")
