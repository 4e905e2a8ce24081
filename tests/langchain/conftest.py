"""What several tests of the LangChain surfaces share."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(params=["sync", "async"])
def invoke(request):
    def run(runnable, value, **options):
        if request.param == "sync":
            return runnable.invoke(value, **options)
        return asyncio.run(runnable.ainvoke(value, **options))

    return run
