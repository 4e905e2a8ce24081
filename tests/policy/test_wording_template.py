"""Templates are filled once, from four names, and reach nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.policy.template import PLACEHOLDERS, fill, mistake, placeholders

VALUES = {name: name.upper() for name in PLACEHOLDERS}


def test_fill() -> None:
    template = "{{{label}}} {answer} ({confidence}): {explanation}"
    assert fill(template, VALUES) == "{LABEL} ANSWER (CONFIDENCE): EXPLANATION"
    assert placeholders(template) == set(PLACEHOLDERS)


def test_an_answer_with_braces_is_not_a_template() -> None:
    assert fill("{answer}", VALUES | {"answer": "{label} {0} {{"}) == "{label} {0} {{"


def test_a_bad_template_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown placeholder"):
        fill("{answer.__class__}", VALUES)


@given(st.text(alphabet="{}ab!:.[]0", max_size=12))
def test_what_passes_the_check_can_be_filled(template: str) -> None:
    if mistake(template) is None:
        assert fill(template, VALUES) == template.format_map(VALUES)
    else:
        with pytest.raises(ValueError, match="the template "):
            fill(template, VALUES)
