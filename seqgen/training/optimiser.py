"""AdamW (Loshchilov & Hutter, 2019), with the bits of `torch.optim.AdamW`; and the L-BFGS of `torch.optim`.

Making an optimiser of `torch.optim` imports PyTorch's compiler, which takes longer than a small training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.9, 0.99)  # the size of recurrent gradients changes quickly
_EPSILON = 1e-8
KEYS = ("step", "exp_avg", "exp_avg_sq")  # of the state of a weight: a number, and two tensors of its shape

_ANSWER = "__dynamo_disable"  # the compiler's, on a method that it should leave alone (`torch._compile`)

Moments = dict[str, dict[str, Tensor]]  # by weight


@dataclass
class ParameterGroup:
    """Weights that are trained alike. `depth`: the number of layers that they are below the top."""

    weights: dict[str, Tensor]
    weight_decay: float
    depth: int = 0
    learning_rate: float = 0.0


class AdamW:
    """The optimiser. Weights without a gradient are left alone, and have no moments until their first.

    Attributes:
        moments: `KEYS` by weight, float32.
    """

    def __init__(self, groups: Sequence[ParameterGroup]) -> None:
        self.groups = groups
        self.moments: Moments = {}

    def zero_grad(self) -> None:
        """Drop the gradients of all weights."""
        for group in self.groups:
            for weight in group.weights.values():
                weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the weights by their gradients."""
        for group in self.groups:
            gradients = {name: weight.grad for name, weight in group.weights.items() if weight.grad is not None}
            weights = [group.weights[name] for name in gradients]
            if not weights:
                continue
            for name, weight in zip(gradients, weights, strict=True):
                if name not in self.moments:
                    zeros = (torch.zeros_like(weight) for _ in range(2))
                    self.moments[name] = dict(
                        zip(KEYS, (torch.zeros((), device=_step_device(weight)), *zeros), strict=True)
                    )
            steps, means, squares = ([self.moments[name][key] for name in gradients] for key in KEYS)
            update = _update_plain if weights[0].device.type == "mps" else _update_fused
            update(weights, list(gradients.values()), means, squares, steps, group)

    def load(self, moments: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Replace the moments by copies of these, on the devices of their weights."""
        weights = {name: weight for group in self.groups for name, weight in group.weights.items()}
        self.moments = {}
        for name, entry in moments.items():
            weight = weights[name]
            step, *tensors = (entry[key].to(torch.float32, copy=True) for key in KEYS)
            on_device = (tensor.to(weight.device) for tensor in tensors)
            self.moments[name] = dict(zip(KEYS, (step.to(_step_device(weight)), *on_device), strict=True))


def _step_device(weight: Tensor) -> torch.device:
    """The device of a weight's step count: its own where the fused kernel reads it."""
    return torch.device("cpu") if weight.device.type == "mps" else weight.device


def _update_fused(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    group: ParameterGroup,
) -> None:
    torch._foreach_add_(steps, 1)
    torch._fused_adamw_(
        weights, gradients, means, squares, [], steps, amsgrad=False, lr=group.learning_rate, beta1=BETAS[0],
        beta2=BETAS[1], weight_decay=group.weight_decay, eps=_EPSILON, maximize=False,
    )  # fmt: skip


def _update_plain(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    group: ParameterGroup,
) -> None:
    """The same without a fused kernel, for Apple's GPUs."""
    rate, (first, second) = group.learning_rate, BETAS
    for weight, gradient, mean, square, count in zip(weights, gradients, means, squares, steps, strict=True):
        count += 1
        weight.mul_(1 - rate * group.weight_decay)
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        number = count.item()
        scale = (1 - second**number) ** 0.5
        weight.addcdiv_(mean, (square.sqrt() / scale).add_(_EPSILON), value=-rate / (1 - first**number))


def minimise(
    weights: Sequence[Tensor], loss: Callable[[], Tensor], iterations: int = 100, history_size: int = 100
) -> None:
    """Change `weights`, which require gradients, in place to where a convex `loss` is least.

    By L-BFGS (Liu & Nocedal, 1989) with a line search that keeps the strong Wolfe conditions.
    """
    with _without_compiler():
        solver = torch.optim.LBFGS(
            weights, max_iter=iterations, history_size=history_size, tolerance_grad=1e-7, tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def evaluate() -> Tensor:
            solver.zero_grad()
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        try:
            solver.step(evaluate)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if "overflow" not in str(error):  # a step too long for float32: the weights stay where the search was
                raise


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Spare the import of PyTorch's compiler, which some methods of optimisers ask only to be left uncompiled.

    They look for its answer on themselves first. Where a version of PyTorch looks elsewhere, the import is not spared.
    """
    methods = [torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad]
    plain = [method.__wrapped__ for method in methods if hasattr(method, "__wrapped__")]
    unanswered = [method for method in plain if not hasattr(method, _ANSWER)]
    for method in unanswered:
        setattr(method, _ANSWER, method)
    try:
        yield
    finally:
        for method in unanswered:
            delattr(method, _ANSWER)
