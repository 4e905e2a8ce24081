"""What an answer must be, kept while it is generated: tokens that the form does not allow are not drawn.

The mask acts on what is drawn, and on nothing that is measured: log-probabilities, entropies and gradients are those of the
model itself, at what the mask made it say. So a form that the model would not have chosen counts as surprise in the score of
the whole answer; in that of a field only the tokens of its value count. Likelihoods that are renormalised to what the mask
allows would look sure where the model is not: a token that stands alone is certain then, whatever the model thinks of it.

Grammars are xgrammar's (extra `structured`). Knows nothing about what a form means.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import LogitsProcessor

from guardrail.errors import MissingExtraError, ModelError
from guardrail.model.loaded import LoadedModel

EXTRA = "pip install 'hybridgrad-guardrail[structured]'"
"""What brings the grammars."""

_log = logging.getLogger(__name__)

_CACHE = 64 * 2**20  # bytes of compiled grammars, a model
_PROBE = '{"a b": [1, "é"], "c": true}'
_DATA = ("const", "enum", "default", "examples")  # keywords whose values are no schemas


def can_constrain() -> bool:
    """Whether what compiles grammars is installed."""
    return find_spec("xgrammar") is not None


@dataclass(frozen=True, slots=True)
class Form:
    """JSON with fixed text around it.

    Attributes:
        schema: JSON schema of the JSON, as JSON text.
        begin: What stands before it; tokens of the tokenizer, control tokens too, are meant where it spells them.
        end: What stands behind it, likewise.
    """

    schema: str
    begin: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """An answer is one of these forms, from its first token to its end token; a thought before it is free.

    JSON is written on one line, its keys in the schema's order and no others. What xgrammar does not know (`not`,
    `uniqueItems`, `allOf` of several and the like) is not kept: whoever reads the answer checks it.
    """

    forms: tuple[Form, ...]

    @classmethod
    def json(cls, schema: Mapping[str, Any]) -> Constraint:
        """Nothing but JSON of a schema."""
        return cls((Form(json.dumps(schema)),))


class Grammars:
    """The constraint of one answer, compiled for the vocabulary of one model."""

    def __init__(self, local: LoadedModel, constraint: Constraint) -> None:
        """Raises `MissingExtraError` without the extra, and `ModelError` for a schema that cannot be kept."""
        self.local = local
        self.forms = [(self._ids(f.begin), _compiled(local, f.schema), self._ids(f.end)) for f in constraint.forms]
        thinking = local.thinking
        self.thoughts = [self._ids(mark) for mark in thinking.opens]
        self.channel = [self._ids(head + thinking.final) for head in ("", "<|start|>assistant") if thinking.final]
        special = set(local.tokenizer.all_special_ids) - set(local.eos_ids)
        self.text = torch.ones(local.anatomy.head.out_features, dtype=torch.bool)  # (V,): what a decoded text shows
        self.text[[i for i in special if i < len(self.text)]] = False

    def _ids(self, text: str) -> list[int]:
        return list(self.local.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def only(self, ids: Sequence[int]) -> Tensor:
        """(V,): whether a token is one of these."""
        mask = torch.zeros_like(self.text)
        mask[list(ids)] = True
        return mask


def can_keep(local: LoadedModel, constraint: Constraint, *, insist: bool = False) -> bool:
    """Whether the answers of a model can be kept to a constraint; where they cannot, the log says why.

    insist: raises in its place, `MissingExtraError` without the extra and `ModelError` for a schema that cannot be kept.
    """
    if not insist and not can_constrain():
        return False
    try:
        Grammars(local, constraint)
    except ModelError as error:
        if insist:
            raise
        _log.warning("answers are not kept to a form: %s", error)
        return False
    return True


class Constrained(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row of one generation the tokens that its form allows next.

    It stands behind whatever records the model's own logits, and before temperature, top-k and top-p.

    Args:
        rows: The grammars of each row; None for a row that is free.
        width: Tokens of the padded prompts.
        opened: Of each row, whether its prompt ends inside a thought.
        broken: Says of each row whether it has been ended for good, after a step.
    """

    def __init__(
        self,
        rows: Sequence[Grammars | None],
        width: int,
        opened: Sequence[bool],
        broken: Callable[[int], Sequence[bool]],
    ) -> None:
        self._rows = [None if g is None else _Row(g, was) for g, was in zip(rows, opened, strict=True)]
        self._width, self._broken = width, broken

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        broken, scores = self._broken(len(self._rows)), scores.clone()
        for r, row in enumerate(self._rows):
            allowed = None if row is None or broken[r] else row.allowed(input_ids[r, self._width :].tolist())
            if allowed is not None:
                scores[r].masked_fill_(~allowed.to(scores.device), -torch.inf)
        return scores


class _Row:
    """One answer on its way through its grammars."""

    def __init__(self, grammars: Grammars, opened: bool) -> None:
        self._grammars, self._opened = grammars, opened
        self._begin(0)

    def _begin(self, start: int) -> None:
        """The answer will begin at token `start` of the reply, if no mark of a thought does."""
        self._start = self._read = start
        self._begun = False
        self._paths = [_Path(self._grammars, *form) for form in self._grammars.forms]

    def allowed(self, ids: list[int]) -> Tensor | None:
        """What may follow the reply so far, (V,); None: anything.

        A reply may begin with a thought. Whoever else draws the tokens, against the mask, goes on without one.
        """
        local, grammars = self._grammars.local, self._grammars
        if not set(local.eos_ids).isdisjoint(ids):
            return None
        leads: list[list[int]] = []
        if not self._begun:
            split = local.thinking.split(ids, opened=self._opened)
            if not split.unfinished and split.start != self._start:
                self._begin(split.start)
            said = ids[self._start :]
            leads = [lead for lead in self._leads(ids) if len(lead) > len(said) and lead[: len(said)] == said]
            if split.unfinished and not (said and leads):
                return None
            self._begun = bool(said) and not leads
        for token in ids[self._read :]:
            self._paths = [path for path in self._paths if path.take(token)]
        self._read = len(ids)
        said = ids[self._start :]
        following = [lead[len(said)] for lead in leads]
        if not self._paths and not following:
            return None
        masks = [grammars.only(following), *(path.allowed() for path in self._paths)]
        if not (mask := torch.stack(masks).any(0)).any():
            raise ModelError(
                f"the vocabulary of {local.name} has no token for what the schema asks for behind "
                f"{local.tokenizer.decode(said)!r:.80}; change the schema, or take another model"
            )
        return mask

    def _leads(self, ids: list[int]) -> list[list[int]]:
        """What may stand before the answer: the mark of a thought, where none was, and of the answer's channel."""
        grammars = self._grammars
        if not grammars.channel:
            return grammars.thoughts if self._start == 0 else []
        if any(_holds(ids[: self._start], lead) for lead in grammars.channel):
            return []
        self._paths = []  # an answer outside of its channel is none
        return [*grammars.thoughts, *grammars.channel]


class _Path:
    """One form: the text before its JSON, the JSON, the text behind it, the end token."""

    def __init__(self, grammars: Grammars, begin: list[int], compiled: Any, end: list[int]) -> None:
        import xgrammar

        self._grammars, self._before, self._after = grammars, list(begin), [*end]
        # an object's end is certain; where nothing follows, the grammar itself says where the end token may stand
        self._matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=bool(end))
        self._bits = xgrammar.allocate_token_bitmask(1, len(grammars.text))

    def take(self, token: int) -> bool:
        """Go on by a token; False where the form has none such here."""
        if self._before:
            return token == self._before.pop(0)
        if not self._matcher.is_terminated():
            return bool(self._matcher.accept_token(token))
        return bool(self._after) and token == self._after.pop(0)

    def allowed(self) -> Tensor:
        """(V,): what may follow."""
        if self._before:
            return self._grammars.only(self._before[:1])
        if self._matcher.is_terminated():
            return self._grammars.only(self._after[:1] or self._grammars.local.eos_ids)
        self._bits.fill_(-1)
        self._matcher.fill_next_token_bitmask(self._bits)
        bits = (self._bits[0].unsqueeze(1) >> torch.arange(32)) & 1  # (V / 32, 32)
        return bits.flatten()[: len(self._grammars.text)].bool() & self._grammars.text


_compilers: WeakKeyDictionary[LoadedModel, Any] = WeakKeyDictionary()


def _compiled(local: LoadedModel, schema: str) -> Any:
    """A schema compiled for a vocabulary; kept, for the same one comes again and again."""
    if not can_constrain():
        raise MissingExtraError(f"keeping an answer to a schema needs xgrammar: {EXTRA}")
    import xgrammar

    if (ref := _elsewhere(json.loads(schema))) is not None:
        raise ModelError(
            f"the schema refers to {ref!r:.80}, and nothing is fetched from elsewhere; change the schema: what it refers to "
            "stands under $defs, as #/$defs/NAME"
        )
    with local.lock:
        if local not in _compilers:
            try:
                info = xgrammar.TokenizerInfo.from_huggingface(
                    local.tokenizer, vocab_size=local.anatomy.head.out_features, stop_token_ids=local.eos_ids
                )
            except (ValueError, RuntimeError) as error:
                raise _unreadable(local, str(error)) from error
            ids = local.tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
            spelt = b"".join(info.decoded_vocab[i] for i in ids).decode(errors="replace")
            if spelt.strip() != local.tokenizer.decode(ids).strip():  # its decoder puts spaces between tokens, say
                raise _unreadable(local, f"to it, {local.tokenizer.decode(ids)!r} is {spelt!r}")
            threads = torch.get_num_threads()
            _compilers[local] = xgrammar.GrammarCompiler(info, max_threads=threads, cache_limit_bytes=_CACHE)
        try:
            return _compilers[local].compile_json_schema(json.dumps(_open(json.loads(schema))), any_whitespace=False)
        except RuntimeError as error:
            why = " ".join(str(error).rpartition("] ")[2].split())
            why = why.partition(": ")[2] or why
            raise ModelError(
                f"no answer can be kept to this schema: {why}; change the schema, or have the answer checked only"
            ) from error


def _elsewhere(schema: Any) -> str | None:
    """A reference to another document, which xgrammar would take for anything at all; None where there is none."""
    parts = list(schema.values()) if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    ref = schema.get("$ref") if isinstance(schema, dict) else None
    if isinstance(ref, str) and not ref.startswith("#"):
        return ref
    return next((found for part in parts if (found := _elsewhere(part)) is not None), None)


def _unreadable(local: LoadedModel, why: str) -> ModelError:
    return ModelError(
        f"no answer of {local.name} can be kept to a schema, for xgrammar does not read its tokenizer right ({why}); "
        "have the answer checked only"
    )


def _open(schema: Any) -> Any:
    """A schema in which arrays and objects of anything say so: to xgrammar, what is not named is not allowed."""
    if isinstance(schema, list):
        return [_open(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: value if key in _DATA else _open(value) for key, value in schema.items()}
    if out.get("type") == "object" and out.keys().isdisjoint(_OF_OBJECTS):
        out["additionalProperties"] = True
    if out.get("type") == "array" and out.keys().isdisjoint(_OF_ARRAYS):
        out["items"] = True
    return out


_OF_OBJECTS = {"properties", "additionalProperties", "patternProperties", "unevaluatedProperties", "$ref"}
_OF_ARRAYS = {"items", "prefixItems", "unevaluatedItems", "$ref"}


def _holds(ids: Sequence[int], part: Sequence[int]) -> bool:
    return any(list(ids[i : i + len(part)]) == list(part) for i in range(len(ids) - len(part) + 1))
