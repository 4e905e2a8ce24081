"""Arrays come back from their texts as they were, and what is no such text is refused by the field's name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.array_text import array_in, array_text


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_numbers_come_back(numbers):
    assert array_in(array_text(numbers, "<f4"), "<f4", "x").tolist() == numbers


def test_the_text_is_base64_of_little_endian_numbers_in_row_major_order():
    assert array_text([1.0], "<f4") == "AACAPw=="
    x = np.arange(6.0).reshape(2, 3)
    assert array_in(array_text(x.T, "<f2"), "<f2", "x").tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    "text", ["no base64!", "AAA", "AACA", array_text([np.nan], "<f4"), array_text([np.inf], "<f4")]
)
def test_what_is_no_array_is_refused(text):
    with pytest.raises(ValueError, match=r"^mean (is no base64 of float32 numbers|must be finite)$"):
        array_in(text, "<f4", "mean")
