"""`python -m guardrail.data.build` writes questions.jsonl, claim_questions.jsonl and passages.jsonl again."""

from guardrail.data.build.bundled import main

main()
