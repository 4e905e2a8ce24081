"""The errors that guardrail raises. Knows nothing about models, scores or policies.

Every message says what is wrong, with the value, and what to do about it. The command line prints it as one line.

    GuardrailError
    ├── ModelError
    │   ├── ModelNotFoundError
    │   ├── UnsupportedModelError
    │   ├── ChatTemplateError
    │   └── EndpointError
    ├── ScoringError
    │   └── UnscoredError
    ├── CalibrationError
    │   ├── NotFittedError
    │   └── CalibratorMismatchError
    ├── PolicyError
    ├── RetrievalError
    ├── PartError
    ├── ClusterError
    ├── DataError
    ├── LowConfidenceError
    ├── DeadlineError
    └── MissingExtraError
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class GuardrailError(Exception):
    """Base of every error that guardrail raises on purpose; catch this to catch them all.

    Another process raises it as it is, whatever its class is made from.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _raised, (type(self), self.args), self.__dict__


def _raised(kind: type[GuardrailError], args: tuple[Any, ...]) -> GuardrailError:
    """An error as it was raised: its class may take other arguments than those that it keeps."""
    return kind.__new__(kind, *args)


class ModelError(GuardrailError):
    """A model could not be loaded or used."""


class ModelNotFoundError(ModelError):
    """The model spec names nothing that can be loaded from here."""


class UnsupportedModelError(ModelError):
    """The model loads, but its architecture cannot be scored exactly; it is refused, never scored wrongly."""


class ChatTemplateError(ModelError):
    """The model has no chat template, or its template rejects the messages."""


class EndpointError(ModelError):
    """A model behind an endpoint could not be asked, or what came back is no answer; never a confidence."""


class ScoringError(GuardrailError):
    """A score cannot be computed because the request is wrong (an option or a token id out of range)."""


class UnscoredError(ScoringError):
    """A number was asked of a `Score` that is unscored."""


class CalibrationError(GuardrailError):
    """A calibrator cannot be fitted, read or used."""


class NotFittedError(CalibrationError):
    """`predict` or `save` was called before `fit` or `load`."""


class CalibratorMismatchError(CalibrationError):
    """A calibrator was fitted, or an SPS profile measured, on another model, template, dtype or scorer than the one in use."""


class PolicyError(GuardrailError):
    """A policy file is unreadable or invalid; the message holds the file, the line and the nearest valid key."""


class RetrievalError(GuardrailError):
    """Passages cannot be read, indexed or searched."""


class PartError(GuardrailError):
    """A verifier, a claim extractor or a scorer failed: it raised, did not answer in time, or gave what it must not."""


class ClusterError(GuardrailError):
    """Workers of a cluster cannot be had, hold another model, or die whatever row they are given."""


class DataError(GuardrailError):
    """A data file is unreadable or a row is malformed; the message holds the file and the line."""


class MissingExtraError(GuardrailError):
    """An optional package is needed; the message names the extra that installs it."""


class DeadlineError(GuardrailError, TimeoutError):
    """A call was not done within its `timeout`; a `TimeoutError` too, for callers that know nothing of guardrail."""


class LowConfidenceError(GuardrailError):
    """An answer's confidence is too low for whoever asked to be told so by an error.

    Args:
        message: What is wrong.
        verdict: The `Verdict` of the answer, kept as the attribute of that name.
    """

    def __init__(self, message: str, verdict: Any) -> None:
        super().__init__(message)
        self.verdict = verdict
