"""Log-probabilities and token ids in replies: of the model that wrote the text, or none."""

from __future__ import annotations

import json

import httpx
import pytest
import torch
from langchain_core.documents import Document

from guardrail import IsotonicCalibrator
from guardrail.model.remote.model import RemoteModel
from guardrail.model.remote.reread import RereadModel
from guardrail.server.app import Server, create_app
from guardrail.server.service import Service
from guardrail.server.settings import ServerSettings
from tests.helpers.endpoints import completion, say, told_endpoint
from tests.helpers.thinkers import saying, thinker
from tests.pipeline.test_escalation import fitted, policy, speaker
from tests.pipeline.test_guard import SURE, UNSURE, Fixed, Passages

ASK = {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 12, "logprobs": True, "return_token_ids": True}


async def asked(model, source, options, second=None):
    settings = ServerSettings()
    server = Server(settings, Service(model, settings, [source], options, second), "ready")
    transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        reply = await client.post("/v1/chat/completions", json={"model": model.name, **ASK})
        assert reply.status_code == 200, reply.text
        return reply.json()


async def test_after_an_escalation_they_are_the_second_models():
    small, big = speaker("small", "Bokassa"), speaker("big", "Suva")
    with torch.no_grad():
        big.model.get_output_embeddings().weight.mul_(2)  # else both have the same weights
    options = {"scorer": Fixed(UNSURE), "calibrator": fitted(small, "small.json")}
    second = {"model": big, "scorer": Fixed(SURE), "calibrator": fitted(big, "big.json")}
    escalated = await asked(small, policy(), options, second)
    straight = {"scorer": Fixed(SURE), "calibrator": fitted(big, "big.json")}
    alone = await asked(big, policy(), straight)
    told, expected = escalated["choices"][0], alone["choices"][0]
    assert (told["message"]["content"], told["token_ids"]) == ("Suva", expected["token_ids"])
    entries, of_big = ([e["logprob"] for e in one["logprobs"]["content"]] for one in (told, expected))
    assert entries == pytest.approx(of_big, abs=1e-5)
    assert len(entries) == len(told["token_ids"])


async def test_of_an_answer_in_other_tokens_there_are_none(model):
    def answer(handler, body):
        if not body.get("stream"):  # what it is asked before
            return say(handler, completion("Yes."))
        choice = {"index": 0, "delta": {"content": "It is Tokyo."}, "finish_reason": "stop"}
        said = json.dumps({"choices": [choice], "prompt_token_ids": [5, 6, 7]})
        return say(handler, f"data: {said}\n\ndata: [DONE]\n\n".encode(), Content_Type="text/event-stream")

    with told_endpoint(answer) as (there, _):
        found = await asked(RereadModel(RemoteModel(there, "m"), model), "observe", {})
    choice = found["choices"][0]
    assert (choice["message"]["content"], choice["guardrail"]["unscored"]) == ("It is Tokyo.", "other_tokens")
    assert choice["logprobs"] is None
    assert "token_ids" not in choice
    assert "prompt_token_ids" not in found


async def test_a_thought_is_not_told_by_its_ids(monkeypatch):
    for text, told in (("<think>hm</think>Yes.", False), ("Yes.", True)):
        local = saying(thinker("qwen"), text, monkeypatch)
        found = await asked(local, "observe", {"scorer": Fixed(SURE), "calibrator": fitted(local, "thinks.json")})
        assert found["choices"][0]["message"]["content"] == "Yes."
        assert ("token_ids" in found["choices"][0]) is told
        assert "prompt_token_ids" not in found  # the calibrator's prompt


async def test_passages_are_not_told_by_their_ids():
    local = speaker("small", "Bokassa")
    passages = Passages(found=[Document(page_content="Bokassa was an emperor.")], queries=[])
    options = {"scorer": Fixed(UNSURE, SURE), "calibrator": fitted(local, "small.json"), "retriever": passages}
    found = await asked(local, "default", options)
    assert found["choices"][0]["guardrail"]["evidence"]
    assert "token_ids" not in found["choices"][0]
    assert "prompt_token_ids" not in found


@pytest.mark.parametrize("prompt", ["{question}", "Answer in one word: {question}"])
async def test_the_ids_of_a_prompt_are_told_where_its_words_are_the_requests(prompt):
    local = speaker("small", "Suva")
    origin = fitted(local, "small.json").provenance.model_copy(update={"prompt": prompt, "system": None})
    curve = IsotonicCalibrator().fit([-1.0, 1.0] * 20, [True, False] * 20, provenance=origin)
    found = await asked(local, "observe", {"scorer": Fixed(SURE), "calibrator": curve})
    told = found.get("prompt_token_ids")
    assert told == (local.encode_prompt("Who?") if prompt == "{question}" else None)
    assert local.tokenizer.decode(found["choices"][0]["token_ids"], skip_special_tokens=True) == "Suva"
    assert found["usage"]["prompt_tokens"] == len(local.encode_prompt(prompt.replace("{question}", "Who?")))
