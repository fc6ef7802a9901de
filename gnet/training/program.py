"""The training step of a stack of nets as one flat list of tensor operations, traced once and run without Python around it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from gnet.errors import ConfigError
from gnet.nn.relaxed.base import asking, penalty
from gnet.training.datamodule import Batch
from gnet.training.module import GNetModule

Tensors = dict[str, Tensor]
TOLERANCE = 1e-3
"""Of gradients, relative to their largest entry, when a program is compared with the module it was traced from."""


class Objective(nn.Module):
    """A net with its loss: what one trial minimises.

    Shapes:
        x, y, mask: as in a batch    returns: loss, total error, number of entries that count, whether all is finite; 0-dim each
    """

    def __init__(self, module: GNetModule) -> None:
        super().__init__()
        self.net, self.errors = module.net, module.errors
        self.of_classes, self.asks = module.loss == "cross_entropy", bool(asking(module))

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Apply the net and sum up."""
        output = self.net(x)  # type: ignore[misc]
        total = self.errors(output, Batch(x, y, mask)).sum()
        count = (mask[..., 0] if self.of_classes else mask).sum()
        mean = total / count.clamp(min=1)
        asked = penalty(self.net) if self.asks and self.training else mean.new_zeros(())  # type: ignore[arg-type]
        return mean + asked, total, count, output.isfinite().all()


class Programs:
    """Flat programs of a stack, one for each shape of batch: gradients, or losses alone.

    ``torch.func`` says what is computed (``functional_call`` of the net on stacked weights, ``grad``, ``vmap`` over the stack),
    and ``make_fx`` writes it down as tensor operations. Run from there a small step costs a fraction of what it costs the module:
    neither modules, nor autograd, nor vmap are gone through again. A stack of one is traced without vmap. What cannot be
    written down, such as a step that depends on the values of tensors, is refused by the tracing itself.

    Args:
        module: one of the stack.
        size: of the stack.
        buffers: of all, stacked; those that are the same for all are kept once.

    Raises:
        ConfigError: from ``gradients``, a program that does not compute what the module does.
    """

    def __init__(self, module: GNetModule, size: int, buffers: Tensors) -> None:
        self.module, self.size = module, size
        self.objective = Objective(module)
        self.buffers = {f"net.{name}": each for name, each in buffers.items()}
        self.shared = {name: each[0] for name, each in self.buffers.items() if size == 1 or bool((each == each[:1]).all())}
        self.own = {name: each for name, each in self.buffers.items() if name not in self.shared}
        self._programs: dict[Any, Callable[..., Any]] = {}

    def gradients(self, params: Tensors, batch: Sequence[Tensor]) -> tuple[Tensors, Tensor, Tensor]:
        """Gradients by name, losses, and whether the outputs are finite, each with a first axis for the trials."""
        self.objective.train()
        grads, (loss, _, _, finite) = self._run("gradients", grad(self._loss, has_aux=True), params, batch)
        return grads, loss, finite

    def losses(self, params: Tensors, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Total errors, numbers of entries and whether the outputs are finite, for each trial."""
        self.objective.eval()
        _, (_, total, count, finite) = self._run("losses", self._loss, params, batch)
        return total, count, finite

    def _loss(self, params: Tensors, own: Tensors, x: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        values = {**{f"net.{name}": each for name, each in params.items()}, **self.shared, **own}
        found = functional_call(self.objective, values, (x, y, mask))
        # A gradient is asked of the loss, and the loss itself is told, too.
        return found[0], (found[0].detach(), *(each.detach() for each in found[1:]))

    def _run(self, name: str, function: Callable[..., Any], params: Tensors, batch: Sequence[Tensor]) -> Any:
        inputs: tuple[Any, ...] = (params, self.own, *batch)
        if self.size == 1:
            inputs = tuple({k: v[0] for k, v in each.items()} if isinstance(each, dict) else each[0] for each in inputs)
        key = (name, *(each.shape for each in batch))
        if key not in self._programs:
            mapped = function if self.size == 1 else vmap(function)
            made = make_fx(lambda params, own, x, y, mask: mapped(params, own, x, y, mask))(*inputs)
            if name == "gradients":
                self._check(made(*inputs)[0], params, batch)
            self._programs[key] = made
        result = self._programs[key](*inputs)
        return result if self.size > 1 else torch.utils._pytree.tree_map(lambda each: each.unsqueeze(0), result)

    def _check(self, grads: Tensors, params: Tensors, batch: Sequence[Tensor]) -> None:
        """Compare with the module itself, of the last trial: whatever a part does that is not written down shows here."""
        last = self.size - 1
        net, one = self.module.net, Batch(*(each[last] for each in batch))
        leaves = {name: each[last].detach().clone().requires_grad_() for name, each in params.items()}
        buffers = {name.removeprefix("net."): each[last] for name, each in self.buffers.items()}
        with torch.enable_grad():
            output = functional_call(net, {**leaves, **buffers}, (one.x,))  # type: ignore[arg-type]
            loss = self.module.errors(output, one).sum() / max(self.module.counted(one.mask), 1)
            if self.objective.asks:
                loss = loss + functional_call(_Penalty(net), {f"net.{k}": v for k, v in {**leaves, **buffers}.items()}, ())
        expected = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for name, wanted in zip(leaves, expected, strict=True):
            found = grads[name] if self.size == 1 else grads[name][last]
            wanted = torch.zeros_like(found) if wanted is None else wanted
            if wanted.isfinite().all() and (found - wanted).abs().max() > TOLERANCE * wanted.abs().max() + 1e-12:
                raise ConfigError(f"the traced step of the net has another gradient for {name} than the net itself")


class _Penalty(nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self) -> Tensor:
        return penalty(self.net)
