"""Two graders disagree, a person decides, and the label wins from then on."""

import json
import tempfile
from pathlib import Path

from guardrail.grading import AnswerRow, get_grader
from guardrail.grading.agreement import agreement
from guardrail.grading.answer_files import disagreements, to_label
from guardrail.grading.grade_answers import grade_answers
from guardrail.grading.hand_labels import HandLabels, load_hand_labels

QUESTION = "On which continent is the United Kingdom?"
answers = ["Europe", "It is located on the European continent.", "It is in Europe.", "Asia", "Africa or Asia"]
rows = [AnswerRow(QUESTION, answer, ("Europe",)) for answer in answers]

graders = [get_grader("alias"), get_grader("semantic")]
grades = {grader.name: grader.grade(rows) for grader in graders}
for i, answer in enumerate(answers):
    print(f"{answer:40}", {name.partition(":")[0]: said[i] for name, said in grades.items()})
(first, a), (second, b) = grades.items()
found = agreement(first, a, second, b)
print(f"agreement {found.agree.value:.2f} ({found.agree.low:.2f} to {found.agree.high:.2f}) of {found.n}")

file = Path(tempfile.mkdtemp()) / "labels.jsonl"
file.write_text(to_label(rows, disagreements(grades), grades, HandLabels()), encoding="utf-8")
to_judge = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
print("for a person:", [row["answer"] for row in to_judge])

for row in to_judge:
    row["correct"] = True  # the person reads it, and says right
file.write_text("".join(json.dumps(row) + "\n" for row in to_judge), encoding="utf-8")
grading = grade_answers(rows, graders[0], HandLabels(load_hand_labels(file)))
print("with the label:", dict(zip(answers, grading.grades, strict=True)))
print("graded by", grading.in_words())
