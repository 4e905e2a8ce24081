"""LangChain's own suites for chat models on `ChatGuarded`, with a policy that lets all through and one that holds all back.

The parameters are the suites' own. They ask for tool calls with `tool_choice`, too, which nothing forces on a local model; this
one calls whatever it is shown.

`asyncio_mode = "auto"` (pyproject) runs their async tests. Tools are called by a model that was taught to, see `calling_model`.
"""

from __future__ import annotations

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from guardrail import Policy
from guardrail.langchain import ChatGuarded
from tests.helpers.calling_model import calling_model

pytestmark = pytest.mark.xdist_group("calling_model")
ABSTAIN = Policy.from_text(
    "version: 1\nname: never\nrules:\n  - {name: never, then: abstain, say: 'No.'}\n", "never.yaml"
)


class Observing:
    policy = "observe"

    @property
    def chat_model_class(self):
        return ChatGuarded

    @property
    def chat_model_params(self):
        return {"model": calling_model(), "policy": self.policy}


class Abstaining(Observing):
    policy = ABSTAIN


class TestObservingUnit(Observing, ChatModelUnitTests): ...


class TestAbstainingUnit(Abstaining, ChatModelUnitTests): ...


class TestObservingIntegration(Observing, ChatModelIntegrationTests): ...


class TestAbstainingIntegration(Abstaining, ChatModelIntegrationTests):
    @property
    def has_structured_output(self):
        return False  # what is held back is None, and the suite wants an object
