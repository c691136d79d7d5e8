"""The recurrent cells, one class each, and the table `CELLS`.

A cell is pure arithmetic on one time step. It is given the input's and the state's shares of every gate,

    x = W_x x_t + b,    h = W_h h_{t-1} (+ b_h)        each of shape (batch, gates · units)

and returns the new state. `forward` also returns what `backward` needs to give the gradients back, so that
`recurrence.scan` can run the time loop once for all cells without a tape. To add a cell: a class here and a row in
`CELLS`; the contract tests compare it with autograd and pick it up from the table.

Where the tutorial this program began from errs, the standard definition stands: the state does feed the next step, so
time steps can't run in parallel; the GRU's gates are named as in Cho et al.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

State = tuple[Tensor, ...]
Saved = tuple[Tensor, ...]


class Cell(Protocol):
    """One time step. The first tensor of a state is the output h, shape (batch, units)."""

    name: ClassVar[str]
    gates: ClassVar[int]  # blocks of rows in each weight matrix
    states: ClassVar[int]  # tensors in a state
    recurrent_bias: ClassVar[bool]  # whether h needs a bias of its own

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]: ...

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        """Gradients with respect to x, h and the part of the old state that does not pass through h."""
        ...

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        """`forward` in operations that autograd can follow, for checks and for devices without our scan."""
        ...


class LSTM:
    """Long short-term memory (Hochreiter & Schmidhuber, 1997) with a forget gate (Gers et al., 2000).

        i, f, o = σ(x_i + h_i), σ(x_f + h_f), σ(x_o + h_o)      g = tanh(x_g + h_g)
        c_t = f ∘ c_{t-1} + i ∘ g                               h_t = o ∘ tanh(c_t)

    Gate blocks stand in PyTorch's order: i, f, g, o. The cell state is kept in float32 whatever the gates are in.
    """

    name: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    recurrent_bias: ClassVar[bool] = False

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        i, f, g, o = (x + h).chunk(4, dim=1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]:
        a = (x + h).float() if h.dtype == torch.bfloat16 else x + h
        i, f, g, o = a.chunk(4, dim=1)
        g.mul_(2)
        a.sigmoid_()
        g.mul_(2).sub_(1)
        old = state[1]
        c = (f * old).addcmul_(i, g)
        t = _tanh_of_half_(2 * c)
        return (o * t, c), (a, old, t)

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        a, old, t = saved
        i, f, g, o = a.chunk(4, dim=1)
        dh, dc = grad
        d = torch.empty_like(a)
        di, df, dg, do = d.chunk(4, dim=1)
        # dc ← dc + dh ∘ o ∘ (1 − t²)
        dht = dh * o
        dc = dc + torch.addcmul(dht, dht * t, t, value=-1)
        torch.mul(dc, g, out=di)
        torch.mul(dc, old, out=df)
        torch.mul(dc, i, out=dg)
        torch.mul(dh, t, out=do)
        d[:, 2 * i.shape[1] : 3 * i.shape[1]].addcmul_(dg * g, g, value=-1)
        for part, gate in ((di, i), (df, f), (do, o)):
            part.mul_(gate).addcmul_(part, gate, value=-1)
        return d, d, (dc.mul_(f),)


class GRU:
    """Gated recurrent unit (Cho et al., 2014), with the reset gate after the recurrent product.

        r, z = σ(x_r + h_r), σ(x_z + h_z)      n = tanh(x_n + r ∘ h_n)
        h_t = (1 − z) ∘ n + z ∘ h_{t-1}

    This is the variant of cuDNN, PyTorch and Keras' `reset_after`; Cho et al. apply r before the product. It needs the
    recurrent bias b_h inside r ∘ (·). Gate blocks stand in PyTorch's order: r, z, n.
    """

    name: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
    states: ClassVar[int] = 1
    recurrent_bias: ClassVar[bool] = True

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        xr, xz, xn = x.chunk(3, dim=1)
        hr, hz, hn = h.chunk(3, dim=1)
        z = (xz + hz).sigmoid()
        n = (xn + (xr + hr).sigmoid() * hn).tanh()
        return (n + z * (state[0] - n),)

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]:
        size = h.shape[1] // 3
        old = state[0]
        rz = (x[:, : 2 * size] + h[:, : 2 * size]).to(old.dtype).sigmoid_()
        r, z = rz.chunk(2, dim=1)
        hn = h[:, 2 * size :].to(old.dtype, copy=True)  # h is a buffer that the next step overwrites
        n = _tanh_of_half_(torch.addcmul(x[:, 2 * size :].to(old.dtype), r, hn).mul_(2))
        return (torch.lerp(n, old, z),), (rz, n, hn, old)

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        rz, n, hn, old = saved
        r, z = rz.chunk(2, dim=1)
        size = n.shape[1]
        dh = grad[0]
        dx = dh.new_empty(dh.shape[0], 3 * size)
        dr, dz, dn = dx.chunk(3, dim=1)
        through = dh * z
        torch.sub(dh, through, out=dn)  # dh ∘ (1 − z)
        torch.mul(dn, old - n, out=dz).mul_(z)  # dh (1 − z) z (h − n)
        dn.addcmul_(dn * n, n, value=-1)
        torch.mul(dn, hn, out=dr).mul_(r).addcmul_(dr, r, value=-1)
        dh_gates = dx.clone()
        dh_gates[:, 2 * size :].mul_(r)
        return dx, dh_gates, (through,)


class RNN:
    """The simple recurrent network (Elman, 1990):  h_t = φ(x + h),  φ = tanh or max(0, ·).

    With ReLU the recurrent weights start as the identity (Le et al., 2015), without which it explodes.
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    recurrent_bias: ClassVar[bool] = False
    name: ClassVar[str] = "rnn"

    def __init__(self, activation: str = "tanh") -> None:
        self.relu = activation == "relu"

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        return ((x + h).relu() if self.relu else (x + h).tanh(),)

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]:
        a = (x + h).to(state[0].dtype)
        new = a.relu_() if self.relu else _tanh_of_half_(a.mul_(2))
        return (new,), (new,)

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        (new,) = saved
        dh = grad[0]
        d = dh * (new > 0) if self.relu else torch.addcmul(dh, dh * new, new, value=-1)
        return d, d, ()


def _tanh_of_half_(x: Tensor) -> Tensor:
    """tanh(x / 2) = 2 σ(x) − 1, in place: PyTorch's sigmoid is several times faster than its tanh on a CPU."""
    return x.sigmoid_().mul_(2).sub_(1)


# Name → the cell, made with the activation asked for. Only the vanilla RNN has a choice of activation.
CELLS: dict[str, Callable[[str], Cell]] = {"lstm": lambda _: LSTM(), "gru": lambda _: GRU(), "rnn": RNN}


def cell(name: str, activation: str = "tanh") -> Cell:
    """The cell of that name; `activation` is the vanilla RNN's."""
    return CELLS[name](activation)
