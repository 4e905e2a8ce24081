"""Training behind the base model's KV cache gives the loss and the gradients of the whole conversation."""

from __future__ import annotations

import pytest
import torch

from guardrail.distillation.adapting import adapted
from guardrail.distillation.labels import Labels
from guardrail.distillation.lessons import invocation_of
from guardrail.distillation.objectives import LOSSES, labels_loss
from guardrail.distillation.settings import Training
from guardrail.distillation.tails import (
    collated_replies,
    collated_tails,
    tail_logits,
    taught_labels_loss,
    taught_replies_loss,
)
from guardrail.runs.asking import Asking
from guardrail.stated import Wording
from guardrail.testing import tiny_local_model

ASKING = Asking("{question}")
ANSWERED = [
    ("Who wrote Faust?", "Goethe", True),
    ("And who, some time before, wrote Hamlet?", "Marlowe, I think", False),
]


@pytest.mark.parametrize(
    ("architecture", "objective"), [("gemma2", "brier"), ("qwen2", "brier"), *(("llama", name) for name in LOSSES)]
)
def test_split_prompts_have_the_loss_and_the_gradients_of_whole_ones(architecture, objective):
    local = tiny_local_model(architecture, vocab_size=261)
    invocation = invocation_of(local, ASKING, Wording())
    labels = Labels.of([(7, 1), (1,), (3, 4), (3, 5)], [0.1, 0.3, 0.5, 0.9])
    assert len(labels.paths) == 2
    rows = [
        {"prompt": local.encode_prompt(Wording().asking_after(ASKING.messages(q), a)), "right": right}
        for q, a, right in ANSWERED
    ]
    found = []
    with adapted(local, Training(rank=2), invocation) as model:
        own = [x for name, x in model.named_parameters() if ".lora_" in name]
        with torch.no_grad():
            for x in own:
                x.copy_(torch.randn(x.shape, generator=torch.Generator().manual_seed(x.numel())) * 0.3)
        for split in (True, False):
            batch = collated_tails(rows, labels, invocation, local.pad_id, split=split)
            assert (batch["heads"].shape[1] > 0) is split
            loss = taught_labels_loss(local, model, batch, labels, objective)
            every = labels_loss(objective, tail_logits(local, model, batch), batch["ends"], batch["right"], labels)
            torch.testing.assert_close(loss, every)  # logits of the label's places alone, and of all
            found.append((loss.detach(), torch.autograd.grad(loss, own)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in found[1][1]) > 1e-4
    for mine, whole in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-2, atol=2e-5)


def test_the_loss_of_a_reply_is_that_of_the_whole_conversation_by_the_model_itself():
    local = tiny_local_model("llama", vocab_size=261)
    invocation = invocation_of(local, ASKING, Wording())
    rows = [
        {
            "prompt": local.encode_prompt(Wording().asking_after(ASKING.messages(q), a)),
            "reply": [7 + right, 1][: 1 + right],
        }
        for q, a, right in ANSWERED
    ]
    with adapted(local, Training(rank=2), invocation) as model, torch.no_grad():
        for name, x in model.named_parameters():
            if ".lora_B." in name:
                x.normal_(generator=torch.Generator().manual_seed(0))
        batch = collated_replies(rows, invocation, local.pad_id, split=True)
        found = taught_replies_loss(local, model, batch)
        total = torch.zeros(())
        for row in rows:
            n, reply = len(row["prompt"]), torch.tensor(row["reply"])
            log_p = model(input_ids=torch.tensor([[*row["prompt"], *row["reply"]]])).logits[0].log_softmax(-1)
            total -= log_p[n - 1 : n - 1 + len(reply)].gather(1, reply.unsqueeze(1)).sum()
    assert batch["heads"].shape[1] > 0
    torch.testing.assert_close(found, total / 3, rtol=1e-4, atol=1e-5)
