"""What several tests of the server share."""

from __future__ import annotations

import pytest

from guardrail.testing import tiny_local_model

ABSTAIN = "version: 1\nname: closed\nrules: []\nwording: {abstain: I do not know.}\n"


@pytest.fixture(scope="module")
def model():
    return tiny_local_model()


@pytest.fixture
def closed(tmp_path):
    """The file of a policy that abstains whatever is asked."""
    path = tmp_path / "closed.yaml"
    path.write_text(ABSTAIN, encoding="utf-8")
    return str(path)
