"""Keeps what a model's linear layers gave during generation and gives it back during scoring: no product is computed twice.

Scoring needs a graph of the layers, not their numbers, which generation has computed. A replayed layer returns what it
returned then and has the gradient of a linear layer; what lies between (norms, rotations, attention, activations) is cheap
and runs again. Only plain `nn.Linear` modules are replayed, so quantised or patched ones run as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from guardrail.kernels.frozen import replace_forward
from guardrail.kernels.live_rows import LiveRows

# some hundred positions of an 8B model in half precision: beyond, computing again is the cheaper way
MAX_KEPT_BYTES = 2**28


class LinearOutputs:
    """Records the outputs of the linear layers from one decoder layer on: of passes while it `listens`, or that it is shown.

    reach: how many positions at the end of the first pass (the prompt) are kept; of later passes all are.
    """

    def __init__(self, layers: nn.ModuleList, first_layer: int, reach: int) -> None:
        self._modules = list(linears(layers, first_layer))
        self._outputs = {name: _Output(reach) for name, _ in self._modules}

    def pause(self, paused: bool) -> None:
        """Whether nothing is kept of what the model computes from now on."""
        for output in self._outputs.values():
            output.paused = paused

    def listen(self, stack: ExitStack) -> None:
        """While `stack` is open, every pass of the model is kept."""
        for (_, module), see in self.hooks():
            stack.callback(module.register_forward_hook(see).remove)

    def hooks(self) -> Iterator[tuple[tuple[str, nn.Linear], _Output]]:
        """The layers that it keeps outputs of, and the hook of each."""
        yield from zip(self._modules, self._outputs.values(), strict=True)

    def kept(self) -> Iterator[list[Any]]:
        """The lists that grow with each pass."""
        for output in self._outputs.values():
            yield from (output.parts, output.versions)

    def joined(self, batch: int, positions: int) -> dict[str, Tensor]:
        """(B, positions, out) by name; a layer that did not see exactly these positions is left out."""
        joined = {name: output.joined() for name, output in self._outputs.items()}
        return {name: x for name, x in joined.items() if x is not None and x.shape[:2] == (batch, positions)}


def replay(
    stack: ExitStack, layers: nn.ModuleList, outputs: Mapping[str, Tensor], live: LiveRows | None = None
) -> None:
    """Until `stack` is left, the layers named in `outputs` return them, (B, S, out), whatever enters."""
    for name, output in outputs.items():
        module = layers.get_submodule(name)
        if _replayable(module):
            replace_forward(stack, module, _replayed(module, output, live or LiveRows(), _is_last(name, layers)))


def only_live_gradients(
    stack: ExitStack, layers: nn.ModuleList, first_layer: int, size: tuple[int, int], live: LiveRows
) -> None:
    """Until `stack` is left, backward passes through the linear layers that are not replayed compute live rows only.

    size: (B, S) of the suffix; layers that see something else are left as they are.
    """
    for name, module in list(linears(layers, first_layer)):
        replace_forward(stack, module, _with_live_gradients(module, size, live, _is_last(name, layers)))


def linears(layers: nn.ModuleList, first_layer: int) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that can be replayed, with names such as `17.mlp.up_proj`."""
    for index in range(first_layer, len(layers)):
        for name, module in layers[index].named_modules():
            if _replayable(module):
                yield f"{index}.{name}", module


def _replayable(module: nn.Module) -> TypeGuard[nn.Linear]:
    if not plain_linear(module) or "forward" in module.__dict__:
        return False
    # a hook of somebody else's would act on what it has given already
    return all(isinstance(hook, _Output) for hook in module._forward_hooks.values())


def plain_linear(module: object) -> TypeGuard[nn.Linear]:
    """Whether it is a linear layer, and not a subclass of it, of ordinary numbers."""
    return type(module) is nn.Linear and plain_weight(module)


def plain_weight(module: object) -> bool:
    """Whether its weight has ordinary numbers: quantised ones are tensors of other kinds, or no floating-point numbers."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and type(weight.data) is Tensor and weight.is_floating_point()


def _is_last(name: str, layers: nn.ModuleList) -> bool:
    return int(name.partition(".")[0]) == len(layers) - 1


def kept_bytes(layers: nn.ModuleList, first_layer: int, positions: int) -> int:
    """What keeping the outputs of `positions` positions takes."""
    return positions * sum(m.out_features * m.weight.element_size() for _, m in linears(layers, first_layer))


class _Output:
    """A forward hook that keeps one layer's outputs. It does not know whose it is: a circle would keep them, too."""

    def __init__(self, reach: int) -> None:
        self.reach, self.paused = reach, False
        self.parts: list[Tensor] = []
        self.versions: list[int] = []
        self.odd = False

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self.paused:
            return
        if self.odd or output.ndim != 3:
            self.odd = True  # tokens flattened, as in front of experts: not worth untangling
            return
        if not self.parts:  # a view of the prompt's pass would keep all of it alive
            output = output[:, -self.reach :].clone()
        self.parts.append(output)
        self.versions.append(output._version)

    def joined(self) -> Tensor | None:
        """None where there is nothing, or where the model changed an output in place after it was kept."""
        changed = any(x._version != v for x, v in zip(self.parts, self.versions, strict=True))
        return None if self.odd or changed or not self.parts else torch.cat(self.parts, dim=1)


def _replayed(module: nn.Linear, output: Tensor, live: LiveRows, last: bool) -> Any:
    def forward(x: Tensor) -> Tensor:
        if x.shape[:-1] != output.shape[:-1]:
            raise RuntimeError(f"a layer was to be replayed for {tuple(output.shape[:-1])}, not {tuple(x.shape[:-1])}")
        replayed: Tensor = _Replayed.apply(x, output, module.weight, live, last)  # type: ignore[no-untyped-call]
        return replayed

    return forward


def _with_live_gradients(module: nn.Linear, size: tuple[int, int], live: LiveRows, last: bool) -> Any:
    def forward(x: Tensor) -> Tensor:
        if x.shape[:-1] != size:  # tokens flattened, as in front of experts: their order is not the positions'
            return linear(x, module.weight, module.bias)
        output = linear(x.detach(), module.weight, module.bias)
        replayed: Tensor = _Replayed.apply(x, output, module.weight, live, last)  # type: ignore[no-untyped-call]
        return replayed

    return forward


class _Replayed(torch.autograd.Function):
    """y = x W^T + b with y known: nothing to compute forward, dJ/dx = dJ/dy W backward, of the live rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor, weight: Tensor, live: LiveRows, last: bool) -> Tensor:
        ctx.weight, ctx.live, ctx.last = weight, live, last
        return output.clone()  # the model may change it in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        dx = _LiveProduct.apply(grad, ctx.weight, ctx.live, ctx.last)  # type: ignore[no-untyped-call]
        return dx, None, None, None, None


class _LiveProduct(torch.autograd.Function):
    """(B, S, out) (out, in) -> (B, S, in), a function of its own so that under `vmap` each pass runs its live rows only."""

    @staticmethod
    def forward(grad: Tensor, weight: Tensor, live: LiveRows, last: bool) -> Tensor:
        return _live_product(grad.unsqueeze(2), weight, live, last).squeeze(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, grad: Tensor, weight: Tensor, live: LiveRows, last: bool) -> tuple[Tensor, int]:
        return _live_product(grad.movedim(in_dims[0], 2), weight, live, last), 2


def _live_product(grads: Tensor, weight: Tensor, live: LiveRows, last: bool) -> Tensor:
    """(B, S, passes, out) -> (B, S, passes, in). last: the last layer, where rows before a claim are zero, too.

    The passes of one position stand beside each other: where all are live, one product of many rows serves them, uncopied.
    """
    if not live.ends:
        return grads @ weight
    out = grads.new_empty(*grads.shape[:3], weight.shape[1])
    products = _last_layer_products if last and grads.device.type == "cpu" else _products
    ends = live.each(grads.shape[2], grads.shape[1])
    for o, grad in zip(out, grads, strict=True):
        products(o, grad, weight, ends)
    return out


def _products(out: Tensor, grad: Tensor, weight: Tensor, ends: Sequence[int]) -> None:
    """Into `out`, (S, passes, in): the rows that all passes have, and then the others."""
    common, passes = min(ends), len(ends)
    torch.mm(grad[:common].reshape(common * passes, -1), weight, out=out[:common].view(common * passes, -1))
    out[common:] = 0
    longer = [(p, slice(common, end)) for p, end in enumerate(ends) if end > common]
    if longer:
        product = torch.cat([grad[rows, p] for p, rows in longer]) @ weight
        parts = torch.split(product, [rows.stop - rows.start for _, rows in longer])
        for (p, rows), part in zip(longer, parts, strict=True):
            out[rows, p] = part


def _last_layer_products(out: Tensor, grad: Tensor, weight: Tensor, ends: Sequence[int]) -> None:
    """The same where each pass has rows of its own, about."""
    out.zero_()
    for p, end in enumerate(ends):
        rows = slice(first_row(grad[:, p]), end)
        out[rows, p] = grad[rows, p] @ weight


def first_row(grad: Tensor) -> int:
    """(S, out) -> the first position that is not zero; the last one where all are."""
    rows = grad.any(-1)
    return int(rows.byte().argmax()) if bool(rows.any()) else len(rows) - 1
