"""A model on a device with too little memory for more than a few rows."""

from __future__ import annotations

import torch

from guardrail.model.loaded import LoadedModel


def limit_memory(local: LoadedModel, *, rows: int) -> None:
    """From now on a forward pass over more rows than that runs out of memory."""
    assert local.anatomy  # read by a pass of its own

    def check(_, args):
        if len(args[0]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    local.model.get_input_embeddings().register_forward_pre_hook(check)
