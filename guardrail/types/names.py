"""The closed sets of names that the values use, each explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

Label = Literal["very low", "low", "medium", "high", "very high"]
LABELS: tuple[Label, ...] = get_args(Label)
"""The five confidence labels, least confident first: fixed bins of width 0.2 on the probability of being right."""

Action = Literal["answer", "hedge", "retrieve", "abstain", "ask_back", "escalate", "retry"]
ACTIONS: tuple[Action, ...] = get_args(Action)
"""What a policy can decide.

answer: as is. hedge: with wording that says how sure. retrieve: look for evidence, then answer again. abstain: say that
the model does not know. ask_back: ask what is meant, in place of an answer. escalate: let a second model answer, whose answer
the same policy decides on. retry: let the model answer once more, with the beginning of its reply given.
"""

ON_THE_WAY: tuple[Action, ...] = ("retrieve", "escalate", "retry")
"""The actions that show nothing: after each an answer is decided on again."""

WITHHELD: tuple[Action, ...] = ("abstain", "ask_back")
"""The actions that show a message in place of the answer, and nothing of it."""

DEFAULT_ASK_BACK = (
    "Your question can be understood in more than one way. "
    "Please say more exactly what is meant: who, what, when or where?"
)
"""What ask_back shows where the policy has no wording for it."""

FinishReason = Literal["stop", "length", "given", "prompt_too_long"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)
"""Why a response ends where it does.

stop: the model ended its turn. length: the token limit cut it. given: the text existed already. prompt_too_long:
nothing was generated.
"""

UnscoredReason = Literal[
    "empty_answer",
    "no_response_tokens",
    "not_finite",
    "prompt_truncated",
    "prompt_too_long",
    "prompt_too_short",
    "out_of_memory",
    "tool_call",
    "unfinished_thinking",
    "unstated",
    "no_log_probs",
    "other_tokens",
    "calibrating",
    "error",
]
UNSCORED_REASONS: tuple[UnscoredReason, ...] = get_args(UnscoredReason)
"""Why an answer has no score.

empty_answer: nothing but white space. no_response_tokens: not even an end token. not_finite: NaN or infinity in a
logit, a gradient or a part of the score, or an exact 0 where no gradient came through or logits overflowed.
prompt_truncated: the model did not see the whole prompt. prompt_too_long: prompt and answer exceed the model's context.
prompt_too_short: the prompt ends before the semantic token. out_of_memory: this answer alone does not fit into memory.
tool_call: a turn that calls tools, passed on unscored because its caller asked for that. unfinished_thinking: the model
thought until its limit, and gave no answer. unstated: it was to end its answer with a confidence, and did not. no_log_probs:
an endpoint gave no log-probabilities, or not those of this answer's text. other_tokens: the copy that reads an endpoint's
answers cannot read this one as it was written. calibrating: a chain is being calibrated, and
whoever does that reads its answers. error: what scores it, or takes it apart, failed; the log
has the whole error.
"""

ClaimKind = Literal["sentence", "item", "row", "atomic", "field"]
"""What a claim was in the answer: a sentence, an item of a list, a row of a table, one fact that a model took out, or a value
in JSON."""

AsideReason = Literal["heading", "question", "greeting", "code", "fragment", "unaligned", "unread"]
"""Why a part of an answer is not checked.

heading, question, greeting, code: it claims nothing. fragment: too little to be right or wrong. unaligned: a model gave a
claim whose place in the answer cannot be found, so that it has no tokens to score. unread: the extractor left it out; an
answer with such a part is not let through.
"""

ClaimAction = Literal["keep", "hedge", "drop", "retrieve"]
CLAIM_ACTIONS: tuple[ClaimAction, ...] = get_args(ClaimAction)
"""What a policy can decide about one claim.

keep: as it stands. hedge: with wording that says how sure. drop: left out. retrieve: look for evidence for this claim, and
decide again, knowing what was found.
"""

OnError = Literal["abstain", "continue", "raise"]
"""What a policy says about a part of the guard that fails: retriever, verifier, claim extractor or scorer.

abstain: the answer is not shown. continue: the rules decide without what the part would have given. raise: the caller gets the
error.
"""

Support = Literal["supported", "contradicted", "not found"]
SUPPORTS: tuple[Support, ...] = get_args(Support)
"""What evidence says about a claim; not found: nothing that settles it."""

Message = Mapping[str, Any]
"""One chat message: `{"role": "user" | "system" | "assistant", "content": str}`, as chat templates take it."""

Tool = Mapping[str, Any]
"""`{"type": "function", "function": {"name": ..., "description": ..., "parameters": JSON schema}}`, as templates take it."""

DEFAULT_MAX_NEW_TOKENS = 150
"""The longest answer, in tokens, where nobody says another length."""

MOST_COUNTED = 1000
"""Passages of a corpus after which counting a name ends: what is as frequent is not rare."""

MAX_PASSAGES = 20
"""The most passages that one search for evidence hands on."""

ASK_AGAIN = 240
"""Questions that a calibration with passages asks again: twice each, which takes as long as 480 others."""
