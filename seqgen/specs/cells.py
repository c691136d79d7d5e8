"""The recurrent cells: one table row each, read by every floor.

To add a cell: write its class (`seqgen.model.recurrent.cells.Cell`) and a row here. With a `numpy_step` it also runs
without PyTorch; without one the torch engine serves it. Compiled kernels are optional.
"""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.errors import UserError
from seqgen.specs.registry import Registry


@dataclass(frozen=True)
class CellSpec:
    """Shapes, initialisation and implementations of one recurrent cell.

    Implementations are dotted names (see `registry.resolve`); `None` means that there is none.
    """

    name: str
    implementation: str  # subclass of `Cell`, called with the spec and the activation
    gates: int  # blocks of `units` rows in each weight matrix
    states: int = 1  # tensors in a state; the first is the output h
    state_names: tuple[str, ...] = ("hidden",)  # one for each tensor of a state
    gate_names: tuple[str | None, ...] = ()  # of the gate blocks that are σ(x + h), by block; None for other blocks
    recurrent_bias: bool = False  # a bias inside the recurrent product, as the GRU's reset gate needs
    activations: tuple[str, ...] = ("tanh",)  # accepted by --activation; the first is the default
    numpy_step: str | None = None  # f(x, h, state, activation) -> state, on float32 arrays
    step_kernels: str | None = None  # time loop with one compiled kernel a step
    native_id: int | None = None  # id in native/sequence.c; stack.c adds the index of the activation
    fused: tuple[str, ...] = ()  # operators of PyTorch for a whole layer, one an activation: cuDNN's on a GPU
    onnx: str | None = None  # operator of ONNX for a layer; None: the cell can't be exported
    onnx_gates: tuple[int, ...] = ()  # our gate blocks in the operator's order
    saves_only_outputs: bool = False  # the backward pass needs only the outputs h_0 … h_T
    forget_gate: int | None = None  # gate block whose bias starts at 1
    identity_start: bool = False  # a forecaster's recurrent weights start as the identity
    learning_rate_factor: float = 1.0  # multiplies the default learning rate
    max_learning_rate: float = 0.02  # of the default, for batches of 64: at higher ones training diverges

    def effective_activation(self, activation: str) -> str:
        """`activation` if the cell has it, otherwise the cell's default: a config may name one that is ignored."""
        return activation if activation in self.activations else self.activations[0]

    def fused_operator(self, activation: str) -> str:
        """The name in `torch._VF` of the operator with `activation`; only for a cell that has any."""
        return self.fused[self.activations.index(self.effective_activation(activation))]

    def native_variant(self, activation: str) -> int | None:
        """Id of this cell with `activation` in native/stack.c, or None without a kernel."""
        if self.native_id is None:
            return None
        return self.native_id + self.activations.index(self.effective_activation(activation))


_CELLS = "seqgen.model.recurrent.cells:"
_STEPS = "seqgen.generation.engines.numpy:"
_LOOPS = "seqgen.model.recurrent.native:"

CELLS: Registry[CellSpec] = Registry(
    "cell",
    (
        CellSpec(
            "lstm", _CELLS + "LSTM", gates=4, states=2, forget_gate=1, native_id=0, fused=("lstm",),
            onnx="LSTM", onnx_gates=(0, 3, 1, 2),
            state_names=("hidden", "cell"), gate_names=("input-gate", "forget-gate", None, "output-gate"),
            numpy_step=_STEPS + "lstm_step", step_kernels=_LOOPS + "LSTMStepLoop",
        ),
        CellSpec(
            "gru", _CELLS + "GRU", gates=3, recurrent_bias=True, native_id=1, fused=("gru",),
            onnx="GRU", onnx_gates=(1, 0, 2), max_learning_rate=0.01,
            gate_names=("reset-gate", "update-gate", None),
            numpy_step=_STEPS + "gru_step", step_kernels=_LOOPS + "GRUStepLoop",
        ),
        CellSpec(
            "rnn", _CELLS + "RNN", gates=1, activations=("tanh", "relu"), native_id=2, saves_only_outputs=True,
            fused=("rnn_tanh", "rnn_relu"), onnx="RNN", onnx_gates=(0,), identity_start=True, learning_rate_factor=0.4,
            numpy_step=_STEPS + "rnn_step", step_kernels=_LOOPS + "RNNStepLoop",
        ),
    ),
)  # fmt: skip

ACTIVATIONS = ("tanh", "relu")


def quantities() -> tuple[str, ...]:
    """The names of the states and gates of all cells."""
    states = [name for spec in CELLS.values() for name in spec.state_names]
    return tuple(dict.fromkeys([*states, *(name for spec in CELLS.values() for name in spec.gate_names if name)]))


def check_cell(cell: str, activation: str) -> CellSpec:
    """The row of a config's cell. Raises `UserError` for an unknown cell or activation."""
    spec = CELLS.find(cell)
    if activation not in ACTIVATIONS:
        raise UserError(f"activation must be {' or '.join(ACTIVATIONS)}, not {activation!r}")
    return spec
