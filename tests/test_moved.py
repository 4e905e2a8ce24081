"""Modules that were moved import under their old names, with a warning, and are the same modules."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

import pytest

from guardrail.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_the_old_name_gives_the_module(old, new):
    module = import_module(f"guardrail.{new}")
    spec = module.__spec__
    sys.modules.pop(f"guardrail.{old}", None)
    if (package := old.rpartition(".")[0]) in MOVED:  # which warns for itself, the first time it is imported
        with warnings.catch_warnings(action="ignore"):
            import_module(f"guardrail.{package}")
    with pytest.warns(DeprecationWarning, match=f"guardrail.{old} is guardrail.{new} now"):
        assert import_module(f"guardrail.{old}") is module
    assert module.__spec__ is spec


@pytest.mark.filterwarnings("default")
def test_old_paths_of_names():
    import guardrail
    from guardrail import actions
    from guardrail.evaluation.graders.rules import AliasGrader

    assert AliasGrader.__module__ == "guardrail.grading.rules"
    with pytest.warns(DeprecationWarning, match=r"guardrail.retrieval.load_retriever"):
        assert actions.load_retriever is guardrail.load_retriever


def test_a_name_that_never_was_is_no_moved_one():
    with pytest.raises(ModuleNotFoundError, match=r"guardrail\.nothing"):
        import_module("guardrail.nothing")
    with pytest.raises(ImportError, match="nothing"):
        from guardrail.actions import nothing  # noqa: F401
