"""Makes the bundled questions and passages from tables of facts: `python -m guardrail.data.build`. Not part of the wheel."""
