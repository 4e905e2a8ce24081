"""All scorers by name: those of guardrail, and those that other packages add by the entry-point group `guardrail.scorers`.

    [project.entry-points."guardrail.scorers"]
    my-score = "my_package.my_module:MyScorer"

Importing this module imports no scorer, and no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from guardrail.errors import ScoringError
from guardrail.scoring.catalogue import OWN, READERS, Entry

if TYPE_CHECKING:
    from guardrail.model.local import LocalModel
    from guardrail.scoring.baselines.equivalence import Equivalence
    from guardrail.scoring.baselines.samples import SampleSource
    from guardrail.scoring.protocol import RegisteredScorer, Scorer
    from guardrail.scoring.readers import Reader

GROUP = "guardrail.scorers"
"""The entry-point group."""

DEFAULT = "hybridgrad"
"""What scores where nothing else is asked for, and what `guardrail bench` compares the others with."""

ENDPOINT_DEFAULTS = ("g-nll", "self-consistency")
"""What scores a model behind an endpoint where nothing else is asked for: the first of these that it allows."""

STATED = "verbalized"
"""What scores a model without weights that is made to state its confidence, where nothing else is asked for."""

QUESTION_DEFAULT = "semantic-volume"
"""What says whether a question is ambiguous, where a policy names no other scorer."""

CONTENDER = "stacked"
"""What a calibration sets against `DEFAULT` where no scorer is asked for; it takes the better one by a paired test."""


class InvalidOptionsError(ScoringError):
    """A scorer's recorded options are not its own: the file was edited, or made by something else."""


SCORERS: Mapping[str, str] = MappingProxyType({n: e.path for n, e in OWN.items() if e.ready})
"""guardrail's own scorers that a model alone makes, by name, those of the paper's table 1 first: none that is fitted."""


def registered() -> dict[str, Entry]:
    """Every scorer by name, guardrail's own first. Raises `ScoringError` where another package takes a name of ours."""
    return {**OWN, **_added()}


@cache
def _added() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for point in entry_points(group=GROUP):
        if point.name in OWN or point.name in found:
            package = point.dist.name if point.dist else point.value
            raise ScoringError(f"{package} adds a scorer {point.name!r}, and there is one already; rename or remove it")
        found[point.name] = Entry(point.value)
    return found


def ready() -> list[str]:
    """The names of the scorers that a model alone makes: all but those whose weights a calibrator holds."""
    return [name for name, entry in registered().items() if entry.ready]


def comparable() -> list[str]:
    """Those of `ready` that give nearly every answer a number."""
    return [name for name in ready() if not entry_of(name).partial]


def entry_of(name: str) -> Entry:
    """Raises `ScoringError` for a name that does not exist."""
    known = registered()
    if name not in known:
        near = get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ScoringError(f"there is no scorer {name!r}{hint} The names: {', '.join(known)}")
    return known[name]


def check_names(names: Sequence[str], *, fitted: bool = False) -> None:
    """Raise `ScoringError` for a name that does not exist, before anything is loaded.

    fitted: whether scorers whose weights have to be fitted are meant too.
    """
    for name in names:
        if not entry_of(name).ready and not fitted:
            raise ScoringError(
                f"scorer {name!r} has weights that a calibrator holds: guardrail calibrate DATA --scorer {name} fits them. "
                f"Those that need none: {', '.join(ready())}"
            )


def scorer_class(name: str) -> type[RegisteredScorer]:
    """The class of a scorer. Raises `ScoringError` for a name that does not exist, or a class that cannot be imported."""
    path = entry_of(name).path
    try:
        return cast("type[RegisteredScorer]", _load(path))
    except (ImportError, AttributeError) as error:
        raise ScoringError(f"the scorer {name!r} cannot be imported from {path}: {error}") from error


def reader_of(name: str, options: Mapping[str, Any]) -> Reader:
    """What finds a scorer's number in the records of a run. Raises `ScoringError` for a name that does not exist, and
    `ValueError` for options that are not this scorer's."""
    path = entry_of(name).reader or f"{READERS}:RecordedReader"
    return cast("Reader", _load(path)(name, options))


def follows_from_pass(scorer: Scorer) -> bool:
    """Whether a scorer's number follows from its options and one pass, as guardrail's own class makes it."""
    entry = OWN.get(scorer.name)
    return entry is not None and entry.reader is not None and type(scorer) is _load(entry.path)


def scorer(
    name: str,
    model: LocalModel,
    *,
    source: SampleSource | None = None,
    equivalence: Equivalence | None = None,
    **options: Any,
) -> Scorer:
    """The scorer of that name for a model.

        source = SampleSource(model, max_new_tokens=30)
        scorers = [scorer(name, model, source=source) for name in SCORERS]
        Guard(model=model, scorer=scorer("g-nll", model), policy="observe")

    Args:
        name: One of `ready()`.
        model: What is scored.
        source: Where those that sample draw from; share one among scorers, and each set of samples is drawn once.
        equivalence: When two answers say the same, for those that ask: `NliEquivalence`, say. None is each scorer's own
            default (M.I.: words in common, else sentence embeddings). The others take neither and are given neither.
        options: The scorer's own.

    Raises:
        ScoringError: For a name or an option that does not exist.
    """
    check_names([name])
    check_able(name, model)
    takes = keywords_of(name)
    shared = {"source": source, "equivalence": equivalence}
    own = [option for option in takes if option not in shared]
    if unknown := [option for option in options if option not in own]:
        raise ScoringError(f"scorer {name!r} has no option {unknown[0]!r}; it has: {', '.join(own) or 'none'}")
    given = {key: value for key, value in shared.items() if key in takes and value is not None}
    make: Callable[..., Any] = scorer_class(name)
    return cast("Scorer", make(model, **given, **options))


def default_of(model: LocalModel) -> str:
    """The name of what scores this model where nothing else is asked for: the paper's score; of a model without weights, what
    it states where it is made to, or the first of those that work behind its endpoint, the cheapest first."""
    if model.has_weights:
        return DEFAULT
    if model.wording is not None:
        return STATED
    able = able_for(model)
    return next(name for name in ENDPOINT_DEFAULTS if name in able)


def default_scorer(model: LocalModel) -> Scorer:
    """The paper's score, to the letter; of a model behind an endpoint, one that works there."""
    return scorer(default_of(model), model)


def able_for(model: LocalModel) -> list[str]:
    """Of `ready`, the scorers that work with this model. One behind an endpoint is asked what it allows."""
    return [name for name in ready() if not _lacking(name, model)]


def check_able(name: str, model: LocalModel) -> None:
    """Raise `ScoringError`, naming those that work, for a scorer that asks more than the model's endpoint gives."""
    if lacking := _lacking(name, model):
        raise ScoringError(
            f"scorer {name!r} needs {lacking}, and {model.name} is behind an endpoint without; those that work there: "
            f"{', '.join(able_for(model))}; load the weights here for the others"
        )


def _lacking(name: str, model: LocalModel) -> str:
    """What a scorer needs and the model has not, in words; empty where it has all."""
    if model.has_weights:
        return ""
    found = getattr(model, "abilities")  # noqa: B009  (no torch is imported here, nor what needs it)
    asks = getattr(scorer_class(name), "asks", None)
    if asks is None:
        return "weights"
    if asks == "log_probs" and not found.log_probs:
        return "log-probabilities of tokens"
    if asks == "top_log_probs" and found.top_log_probs < 2:
        return "log-probabilities of several tokens at one place (top_logprobs)"
    return ""


def scorer_from(name: str, options: Mapping[str, Any], model: LocalModel) -> Scorer:
    """The scorer whose `name` and `options` these are: it scores as the one did that they were recorded of.

    Raises `ScoringError` for a name that does not exist, options that are none, and what cannot be made again from a file: an
    equivalence of the user's own, or samples cut off by an option that the scorer does not take.

        scorer_from("sar", {"samples": 5, "temperature": 1.0, ...}, model)
        all(scorer_from(s.name, s.options, model).options == s.options for s in scorers)   # but for `token_source`
    """
    made_by = scorer_class(name)
    check_able(name, model)
    recorded = _plain(options)
    try:
        made = cast("Scorer", made_by.from_options(recorded, model))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidOptionsError(f"the options {_short(recorded)} are none of {name!r}: {_line(error)}") from error
    now = _plain(made.options)
    for key in sorted(recorded.keys() | now.keys()):
        # where an option came from changes no score
        if not key.endswith("_source") and recorded.get(key, "absent") != now.get(key, "absent"):
            raise ScoringError(
                f"scorer {name!r} cannot be made with {key} {_short(recorded.get(key, 'absent'))}: made from its name, it has "
                f"{_short(now.get(key, 'absent'))}; give the scorer itself"
            )
    return made


def keywords_of(name: str) -> list[str]:
    """What `scorer` may be given for that name: its own options, `source` and `equivalence`."""
    return [keyword for keyword in scorer_class(name).keywords() if keyword != "tokenizer"]


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """As it is after a file: tuples are lists."""
    out: dict[str, Any] = json.loads(json.dumps(dict(options)))
    return out


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
    return " ".join(str(error).split())[:200]
