"""A long answer, claim by claim: kept, hedged or dropped, looked up where the model is unsure, and shown on a page."""

import tempfile
from pathlib import Path

from guardrail import Guard
from guardrail.data import passages_path
from guardrail.html import claims_page
from guardrail.retrieval import load_retriever

QUESTION = "1. What is the chemical symbol of helium?\n2. What is the atomic number of helium?\n3. Is helium a gas?"

folder = Path(tempfile.mkdtemp())
rows = passages_path().read_text(encoding="utf-8").splitlines()
notes = folder / "notes.jsonl"  # few of the bundled passages, so that the index is made at once
notes.write_text("\n".join(row for row in rows if "helium" in row or "Egypt" in row), encoding="utf-8")

guard = Guard.from_pretrained("smollm2-135m", policy="per_claim", retriever=load_retriever(notes))
verdict = guard.answer(QUESTION)

print("the model said:\n" + verdict.answer)
for claim in verdict.claims:
    found = claim.verification.support if claim.verification else "not looked up"
    print(f"  {claim.action:5} {claim.confidence.p_correct:.2f} {claim.label:8} {found:13} {claim.text}")
    for passage in claim.evidence[:1]:
        print(f"        {passage.source}: {passage.text}")
print(f"shown ({verdict.action}):\n" + verdict.text)

page = folder / "claims.html"
page.write_text(claims_page(verdict, question=QUESTION), encoding="utf-8")
print(f"page: {page}, {page.stat().st_size // 1024} KiB, loads nothing")
