"""guardrail: knows when a local language model does not know."""
