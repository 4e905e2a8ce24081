"""The public names: sorted, importable, documented; importing the package is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import guardrail


def test_all_is_sorted_and_complete():
    assert guardrail.__all__ == sorted(
        guardrail.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)
    )
    assert set(guardrail._LAZY) <= set(guardrail.__all__) <= set(dir(guardrail))


@pytest.mark.parametrize("name", guardrail.__all__)
def test_every_name_imports_and_is_documented(name):
    value = getattr(guardrail, name)
    if callable(value):
        assert value.__doc__


def test_unknown_names_fail_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'Gaurd'"):
        _ = guardrail.Gaurd


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, guardrail; print({'torch', 'transformers', 'numpy', 'langchain_core'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


def test_every_error_has_one_base():
    from guardrail import errors

    for name in vars(errors):
        value = getattr(errors, name)
        if isinstance(value, type):
            assert issubclass(value, guardrail.GuardrailError)
            assert name in errors.__doc__
