"""The shape of a policy file, as frozen pydantic models that forbid unknown keys.

Knows nothing about YAML, files or lines (source.py, mistakes.py), nor about how a rule is matched (matching.py). Checks
that need one mapping only are here; those that compare rules with each other are in checks.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from guardrail.policy.ambiguity import Ambiguity
from guardrail.policy.ask_first import AskFirst
from guardrail.policy.bounds import (
    ConfidenceBounds,
    CountBounds,
    LengthBounds,
    Line,
    Mapping,
    ShareBounds,
    one_line,
    wrong,
)
from guardrail.policy.conditions import ClaimsCondition, ClaimWhen, When
from guardrail.policy.proof import ClaimsProof, Promise, Proof, ProofModel, SecondProven
from guardrail.policy.retry import Retry
from guardrail.policy.sampling import Sampling
from guardrail.policy.search import Retrieval, Search
from guardrail.policy.template import mistake, placeholders
from guardrail.types import LABELS, WITHHELD, Action, ClaimAction, Label, OnError

VERSION = 1
NO_RULE = "no rule matched"
NO_CLAIM_RULES = "no claim rules"
MAX_SECONDS = 3600

Unit = Literal["answer", "claim"]
"""What a rule is for: the whole answer, or each of its claims."""


def _version(value: object) -> object:
    if type(value) is not int or value != VERSION:  # not isinstance: true is an int, 1.0 == 1
        raise PydanticCustomError("version", "unknown version")
    return value


def _template(value: object) -> object:
    if isinstance(value, str):
        if not value.strip():
            raise wrong("is empty")
        if fault := mistake(value):
            raise wrong(fault)
    return value


def _hedge_template(value: object) -> object:
    if isinstance(_template(value), str) and "answer" not in placeholders(str(value)):
        raise wrong("does not contain {answer}; to withhold the answer, use abstain")
    return value


def _claim_template(value: object) -> object:
    if isinstance(_template(value), str):
        if "answer" not in placeholders(str(value)):
            raise wrong("does not contain {answer}, which is the claim; to leave the claim out, use drop")
        if "\n" in str(value).strip():
            raise wrong("has more than one line; a claim may stand in a list or a table")
    return value


def _withholding(does: str) -> BeforeValidator:
    """Of a wording that stands in place of the answer. does: what it does, as in "abstains"."""

    def check(value: object) -> object:
        value = _template(value)
        if "answer" in placeholders(str(value)):
            raise wrong(f"shows {{answer}} while it {does}; to show the answer with a warning, use hedge")
        return value

    return BeforeValidator(check)


Name = Annotated[str, BeforeValidator(one_line), Field(min_length=1, max_length=80)]
Template = Annotated[str, BeforeValidator(_template)]
HedgeTemplate = Annotated[str, BeforeValidator(_hedge_template)]
ClaimTemplate = Annotated[str, BeforeValidator(_claim_template)]
AbstainTemplate = Annotated[str, _withholding("abstains")]
AskBackTemplate = Annotated[str, _withholding("asks back")]


class Rule(Mapping):
    """When the conditions hold of an answer, then act. `say` replaces the policy's wording for this rule, `retrieve` its
    `retrieval` for the search of this rule. `retry`: for a rule that says `then: retry`, and no other.
    """

    name: Name
    for_: Unit = Field(default="answer", alias="for")
    when: When = When()
    then: Action
    because: Line = ""
    say: Template | None = None
    retry: Retry | None = None
    retrieve: Search | None = None

    @property
    def prefix(self) -> str:
        """How the next reply has to begin; empty where nobody is asked again."""
        return self.retry.prefix if self.retry else ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_taken_name(self.name)
        if self.retrieve is not None and self.then != "retrieve":
            raise wrong(
                f"has 'retrieve', but then: {self.then} searches for nothing; write then: retrieve, or remove it"
            )
        if self.then == "retry" and self.retry is None:
            raise wrong('says retry, and not how; add `retry: {prefix: "..."}`, the beginning of the next reply')
        if self.then != "retry" and self.retry is not None:
            raise wrong(f"has 'retry', but then: {self.then} asks nobody again; write then: retry, or leave it out")
        if self.say is not None and self.then not in ("hedge", *WITHHELD):
            raise wrong(f"has 'say', but then: {self.then} shows no wording; only hedge, abstain and ask_back do")
        if self.say is not None and self.then == "hedge" and "answer" not in placeholders(self.say):
            raise wrong("hedges, but its 'say' does not contain {answer}; to withhold the answer, use abstain")
        if self.say is not None and self.then in WITHHELD and "answer" in placeholders(self.say):
            does = "abstains" if self.then == "abstain" else "asks back"
            raise wrong(f"{does}, but its 'say' shows {{answer}}; to show the answer with a warning, use hedge")
        return self


class ClaimRule(Mapping):
    """When the conditions hold of one claim, then do this with it. `say` is for hedge; `{answer}` in it is the claim."""

    name: Name
    for_: Unit = Field(default="claim", alias="for")
    when: ClaimWhen = ClaimWhen()
    then: ClaimAction
    because: Line = ""
    say: ClaimTemplate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_taken_name(self.name)
        if self.say is not None and self.then != "hedge":
            raise wrong(f"has 'say', but then: {self.then} shows no wording; of the rules for claims only hedge does")
        return self


AnyRule: TypeAlias = Rule | ClaimRule


def _refuse_taken_name(name: str) -> None:
    if name in (NO_RULE, NO_CLAIM_RULES):
        raise wrong(f"has the name {name!r}, which is taken by what happens when none matches")


def unit_of(rule: object) -> Unit:
    """Which rule a mapping means to be; what is neither is read as a rule for answers, whose errors then say so."""
    return "claim" if isinstance(rule, dict) and rule.get("for") == "claim" else "answer"


class HedgeWording(Mapping):
    """One template for each label; `unknown` is for a hedge without a confidence."""

    very_low: HedgeTemplate | None = Field(default=None, alias="very low")
    low: HedgeTemplate | None = None
    medium: HedgeTemplate | None = None
    high: HedgeTemplate | None = None
    very_high: HedgeTemplate | None = Field(default=None, alias="very high")
    unknown: HedgeTemplate | None = None

    def template(self, label: Label | None) -> str | None:
        """The file's template for a label (None: no confidence), or None where the file has none."""
        by_label = dict(zip(LABELS, (self.very_low, self.low, self.medium, self.high, self.very_high), strict=True))
        return self.unknown if label is None else by_label[label]


class ClaimHedgeWording(HedgeWording):
    """The same for a claim; what stands after `{answer}` goes before the claim's final full stop."""

    very_low: ClaimTemplate | None = Field(default=None, alias="very low")
    low: ClaimTemplate | None = None
    medium: ClaimTemplate | None = None
    high: ClaimTemplate | None = None
    very_high: ClaimTemplate | None = Field(default=None, alias="very high")
    unknown: ClaimTemplate | None = None


class ClaimWording(Mapping):
    """What hedged claims say."""

    hedge: ClaimHedgeWording = ClaimHedgeWording()


class Wording(Mapping):
    """What hedges, abstentions and questions back say; what is left out falls back to the wording in guardrail.actions."""

    hedge: HedgeWording = HedgeWording()
    abstain: AbstainTemplate | None = None
    claim: ClaimWording = ClaimWording()
    ask_back: AskBackTemplate | None = None


Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Limits(Mapping):
    """Seconds that a Guard waits. retriever: for one search. verifier: for the claims of one answer."""

    retriever: Seconds = 60
    verifier: Seconds = 300


class PolicyFile(Mapping):
    """A whole file. on_error: when a part fails or does not answer within `limits`. proof: of a promise about error rates,
    written by `guardrail tune`. claims_proof: of one about wrong claims in answers.
    ask_first: whether to search before anything is generated. ambiguity: when a question counts as ambiguous. sampling: how
    samples are drawn for `consistency`.
    """

    version: Annotated[Literal[1], BeforeValidator(_version)]
    name: Name
    description: Line = ""
    retrieval: Retrieval = Retrieval()
    limits: Limits = Limits()
    ask_first: AskFirst | None = None
    on_error: OnError = "abstain"
    wording: Wording = Wording()
    rules: tuple[
        Annotated[
            Annotated[Rule, Tag("answer")] | Annotated[ClaimRule, Tag("claim")],
            Discriminator(unit_of),
        ],
        ...,
    ]
    proof: Proof | None = None
    claims_proof: ClaimsProof | None = None
    ambiguity: Ambiguity | None = None
    sampling: Sampling = Sampling()


_ANYWHERE: dict[str, type[Mapping]] = {
    "": PolicyFile,
    "retrieval": Retrieval,
    "limits": Limits,
    "ask_first": AskFirst,
    "wording": Wording,
    "claim": ClaimWording,
    "hedge": HedgeWording,
    "confidence": ConfidenceBounds,
    "length": LengthBounds,
    "proof": Proof,
    "claims_proof": ClaimsProof,
    "answered": Promise,
    "shown": Promise,
    "model": ProofModel,
    "ambiguity": Ambiguity,
    "second": SecondProven,
    "sampling": Sampling,
    "retry": Retry,
}
MAPPINGS: dict[Unit, dict[str, type[Mapping]]] = {
    "answer": {
        **_ANYWHERE,
        "rules": Rule,
        "when": When,
        "any": When,
        "not": When,
        "claims": ClaimsCondition,
        "weakest": ConfidenceBounds,
        "mean": ConfidenceBounds,
        "share": ShareBounds,
        "count": CountBounds,
        "spread": ConfidenceBounds,
        "rare": CountBounds,
        "retrieve": Search,
        "consistency": ConfidenceBounds,
    },
    "claim": {**_ANYWHERE, "rules": ClaimRule, "when": ClaimWhen, "any": ClaimWhen, "not": ClaimWhen},
}
"""The mapping that stands under each key of a file ("" is the file itself), in rules for answers and for claims."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file, for editors and documentation.

    It describes keys, types and ranges. What depends on several keys at once (bounds that leave nothing, a rule that can
    never fire, the placeholders of a template) is checked by `Policy.load` alone.

    Returns:
        The schema, JSON-ready; `json.dumps(json_schema(), indent=2)` writes it.
    """
    schema: dict[str, Any] = _without_null(PolicyFile.model_json_schema())
    for rule, unit in (("Rule", "answer"), ("ClaimRule", "claim")):
        schema["$defs"][rule]["properties"]["for"] = {"const": unit}
    schema["$defs"]["ClaimRule"]["required"].insert(0, "for")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "guardrail policy"}


def _without_null(value: Any) -> Any:
    """A schema without `null`: a file leaves a key out instead."""
    if isinstance(value, list):
        return [_without_null(item) for item in value if item != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    out = {key: _without_null(item) for key, item in value.items() if item is not None}
    alternatives = out.get("anyOf", ())
    return {**{k: v for k, v in out.items() if k != "anyOf"}, **alternatives[0]} if len(alternatives) == 1 else out
