"""The recurrent cells, one class each; `seqgen.specs.cells` has a table row for each.

A cell is the arithmetic of one time step on the input's and the state's terms of every gate,

    x = W_x x_t + b,    h = W_h h_{t-1} (+ b_h)        each of shape (batch, gates · units)

It returns the new state. `step` is enough to train and to run a cell. With `forward` and `backward` as well, `scan`
runs the time loop without autograd's tape, several times faster; the tests check them against `step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqgen.specs.cells import CELLS, CellSpec
from seqgen.specs.registry import resolve

State = tuple[Tensor, ...]
Saved = tuple[Tensor, ...]


class Cell:
    """One time step. The first tensor of a state is the output h, shape (batch, units)."""

    def __init__(self, spec: CellSpec, activation: str) -> None:
        self.spec = spec
        self.activation = spec.effective_activation(activation)

    @property
    def has_backward(self) -> bool:
        """Whether the cell computes its own gradients; otherwise autograd follows `step`."""
        return type(self).backward is not Cell.backward

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        """The new state, in operations that autograd can follow."""
        raise NotImplementedError

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]:
        """The new state, and the tensors that `backward` needs."""
        raise NotImplementedError

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        """Gradients with respect to x, to h, and to the part of the old state that does not pass through h."""
        raise NotImplementedError


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997) with a forget gate (Gers et al., 2000).

        i, f, o = σ(x_i + h_i), σ(x_f + h_f), σ(x_o + h_o)      g = tanh(x_g + h_g)
        c_t = f ∘ c_{t-1} + i ∘ g                               h_t = o ∘ tanh(c_t)

    Gate blocks are in PyTorch's order: i, f, g, o. The cell state stays in float32 whatever the dtype of the gates.
    """

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


class GRU(Cell):
    """Gated recurrent unit (Cho et al., 2014), with the reset gate after the recurrent product.

        r, z = σ(x_r + h_r), σ(x_z + h_z)      n = tanh(x_n + r ∘ h_n)
        h_t = (1 − z) ∘ n + z ∘ h_{t-1}

    This is the variant of cuDNN, PyTorch and Keras' `reset_after`; Cho et al. apply r before the product. It needs the
    recurrent bias b_h inside r ∘ (·). Gate blocks are in PyTorch's order: r, z, n.
    """

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
        dold = dh * z
        torch.sub(dh, dold, out=dn)  # dh ∘ (1 − z)
        torch.mul(dn, old - n, out=dz).mul_(z)  # dh (1 − z) z (h − n)
        dn.addcmul_(dn * n, n, value=-1)
        torch.mul(dn, hn, out=dr).mul_(r).addcmul_(dr, r, value=-1)
        dh_gates = dx.clone()
        dh_gates[:, 2 * size :].mul_(r)
        return dx, dh_gates, (dold,)


class RNN(Cell):
    """The simple recurrent network (Elman, 1990):  h_t = φ(x + h),  φ = tanh or max(0, ·).

    With ReLU the recurrent weights start as the identity (Le et al., 2015), without which it explodes.
    """

    def step(self, x: Tensor, h: Tensor, state: State) -> State:
        return ((x + h).relu() if self.activation == "relu" else (x + h).tanh(),)

    def forward(self, x: Tensor, h: Tensor, state: State) -> tuple[State, Saved]:
        a = (x + h).to(state[0].dtype)
        new = a.relu_() if self.activation == "relu" else _tanh_of_half_(a.mul_(2))
        return (new,), (new,)

    def backward(self, saved: Saved, grad: State) -> tuple[Tensor, Tensor, State]:
        (new,) = saved
        dh = grad[0]
        d = dh * (new > 0) if self.activation == "relu" else torch.addcmul(dh, dh * new, new, value=-1)
        return d, d, ()


def _tanh_of_half_(x: Tensor) -> Tensor:
    """tanh(x / 2) = 2 σ(x) − 1, in place: PyTorch's sigmoid is several times faster than its tanh on a CPU."""
    return x.sigmoid_().mul_(2).sub_(1)


def make_cell(name: str, activation: str = "tanh") -> Cell:
    """The cell of this name; an activation that it does not have is ignored."""
    spec = CELLS[name]
    made: Cell = resolve(spec.implementation)(spec, activation)
    return made
