"""Errors reach other processes as they are."""

from __future__ import annotations

import copy

import pytest

from guardrail.errors import DeadlineError, LowConfidenceError
from guardrail.model.remote.client import StatusError
from guardrail.waiting import OverdueError


@pytest.mark.parametrize(
    "error",
    [StatusError("it said no", 401, "no"), OverdueError(2.0), LowConfidenceError("too low", {"a": 1}), DeadlineError()],
)
def test_an_error_of_any_class_can_be_made_again_as_it_is_for_another_process(error):
    again = copy.copy(error)  # by what is sent there
    assert (type(again), again.args, vars(again)) == (type(error), error.args, vars(error))
