"""Scorers side by side on the same answers: which one ranks right and wrong best, and what it costs."""

import guardrail
from guardrail.evaluation.bench import verdict

found = guardrail.bench("smollm2-135m", "bundled", ["g-nll", "paragrad"], limit=40, max_new_tokens=8)
for row in found.rows:  # hybridgrad is always among them: the others are compared with it
    print(
        f"{row.name:12} AUROC {row.auroc.value:.3f} ({row.auroc.low:.3f} to {row.auroc.high:.3f}), {row.seconds.median:.3f} s"
    )
print(*verdict(found), sep="\n")  # so few answers rarely allow one
