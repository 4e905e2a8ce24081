"""Scorers side by side on the same answers: which one ranks right and wrong best, and what it costs."""

from guardrail import load_model
from guardrail.data import load_questions
from guardrail.datasets.questions import QuestionRow
from guardrail.evaluation.bench import bench, contenders, verdict
from guardrail.grading import get_grader
from guardrail.runs.asking import Asking
from guardrail.runs.collect import collect
from guardrail.runs.scorer_pass import ScorerPass

model = load_model("smollm2-135m")
questions = [QuestionRow(q.question, q.answers) for q in load_questions("heldout")[::45]]
asking = Asking("Please directly answer the following question with one or few words:\n{question}", max_new_tokens=8)
scorers = contenders(model, ["g-nll", "paragrad"], asking)  # and hybridgrad, which they are compared with
answers = collect(model, questions, get_grader("alias"), asking, batch_size=1, scorers=ScorerPass(scorers))
found = bench(answers, scorers)
for row in found.rows:
    print(
        f"{row.name:12} AUROC {row.auroc.value:.3f} ({row.auroc.low:.3f} to {row.auroc.high:.3f}), {row.seconds.median:.3f} s"
    )
print(*verdict(found), sep="\n")  # so few answers rarely allow one
