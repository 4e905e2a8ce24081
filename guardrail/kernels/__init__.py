"""Forward and backward passes that cost less: pure torch, without a model's name, a tokenizer or a score.

Each gives what plain autograd gives; `tests/kernels` holds them against it.
"""
