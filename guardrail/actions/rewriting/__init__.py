"""The answer that is left when some of its claims are hedged and others dropped."""

from __future__ import annotations

from guardrail.actions.rewriting.rewrite import Rewritten, rewrite

__all__ = ["Rewritten", "rewrite"]
