"""Language models as ONNX graphs: ids and states in, logits and states out.

A recurrent layer is the operator of its cell (LSTM, GRU or RNN), whose arithmetic is ours with the gate blocks in
another order. Batch and time are dynamic. The file's metadata has what a program needs to turn ids into text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.checkpoint import Checkpoint
from seqgen.config import NetworkConfig
from seqgen.errors import ModelError
from seqgen.generation.engines.base import output_matrix
from seqgen.specs.cells import CELLS, CellSpec
from seqgen.version import __version__

Array = npt.NDArray[np.float32]

OPSET, IR_VERSION = 17, 8  # of 2022: every runtime that is still maintained reads them
_MAX_BYTES = 2_000_000_000  # of a protocol buffer


def export_onnx(loaded: Checkpoint) -> bytes:
    """A language model as an ONNX file.

    Inputs: `ids`, int64, shape (batch, time), and for each tensor of the cell's state (`hidden`, for an LSTM also
    `cell`) float32, shape (layers, batch, units). Outputs: `logits`, float32, shape (batch, time, vocabulary), and
    `next_hidden`, `next_cell`, shaped like the states.

    Raises:
        ModelError: the model predicts no ids, its cell has no ONNX operator, or the file would exceed 2 GB.
    """
    from onnx import TensorProto, checker, helper

    config = loaded.language_config
    spec = CELLS[config.cell]
    if spec.onnx is None:
        raise ModelError(f"cannot export the cell {spec.name!r}: ONNX has no operator for it")
    weights = loaded.weights()
    if sum(weight.nbytes for weight in weights.values()) > _MAX_BYTES:
        raise ModelError("cannot export this model: its weights exceed the 2 GB of an ONNX file")
    graph = _Graph()
    _add_network(graph, config, spec, weights)
    state_shape: list[str | int | None] = [config.num_layers, "batch", config.rnn_size]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "seqgen",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "time"]),
                *(helper.make_tensor_value_info(name, TensorProto.FLOAT, state_shape) for name in spec.state_names),
            ],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "time", config.vocab_size]),
                *(
                    helper.make_tensor_value_info(f"next_{name}", TensorProto.FLOAT, state_shape)
                    for name in spec.state_names
                ),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="seqgen",
        producer_version=__version__,
    )
    helper.set_model_props(model, _metadata(loaded))
    checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        """Add a node, and return the name of its first output."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]


def _add_network(graph: _Graph, config: NetworkConfig, spec: CellSpec, weights: Mapping[str, Array]) -> None:
    """Add the nodes from ids and states to logits and new states."""
    layers = range(config.num_layers)
    embedded = graph.add("Gather", [graph.constant("embedding", weights["embedding"]), "ids"], ["embedded"])
    below = graph.add("Transpose", [embedded], ["inputs_0"], perm=[1, 0, 2])  # (time, batch, embedding)
    for name in spec.state_names:
        # Each layer takes its own (1, batch, units).
        graph.add("Split", [name, graph.constant(f"{name}_parts", np.ones(config.num_layers, np.int64))],
                  [f"{name}_{layer}" for layer in layers], axis=0)  # fmt: skip
    axis = graph.constant("direction_axis", np.array([1]))
    for layer in layers:
        operator, attributes = _operator(spec, config)
        states = [f"{name}_{layer}" for name in spec.state_names]
        outputs = [f"outputs_{layer}", *(f"next_{state}" for state in states)]
        graph.add(operator, [below, *_layer_constants(graph, spec, layer, weights), "", *states], outputs, **attributes)
        below = graph.add("Squeeze", [outputs[0], axis], [f"inputs_{layer + 1}"])  # of the one direction
    for name in spec.state_names:
        graph.add("Concat", [f"next_{name}_{layer}" for layer in layers], [f"next_{name}"], axis=0)
    hidden = graph.add("Transpose", [below], ["outputs"], perm=[1, 0, 2])
    product = graph.add("MatMul", [hidden, graph.constant("output_weight", output_matrix(weights).T)], ["products"])
    graph.add("Add", [product, graph.constant("output_bias", weights["output_bias"])], ["logits"])


def _operator(spec: CellSpec, config: NetworkConfig) -> tuple[str, dict[str, Any]]:
    """The operator of a layer and its attributes."""
    attributes: dict[str, Any] = {"hidden_size": config.rnn_size}
    if spec.recurrent_bias:
        attributes["linear_before_reset"] = 1  # the reset gate multiplies the product and its bias
    if len(spec.activations) > 1:
        attributes["activations"] = [spec.effective_activation(config.activation).capitalize()]
    assert spec.onnx is not None
    return spec.onnx, attributes


def _layer_constants(graph: _Graph, spec: CellSpec, layer: int, weights: Mapping[str, Array]) -> list[str]:
    """The operator's weights W, R and B of a layer; each begins with the dimension of directions."""

    def blocks(name: str) -> Array:
        parts = np.split(weights[f"layers.{layer}.{name}"], spec.gates)
        return np.concatenate([parts[gate] for gate in spec.onnx_gates])

    bias = blocks("bias")
    recurrent_bias = blocks("recurrent_bias") if spec.recurrent_bias else np.zeros_like(bias)
    return [
        graph.constant(f"input_weight_{layer}", blocks("input_weight")[None]),
        graph.constant(f"recurrent_weight_{layer}", blocks("recurrent_weight")[None]),
        graph.constant(f"bias_{layer}", np.concatenate([bias, recurrent_bias])[None]),
    ]


def _metadata(loaded: Checkpoint) -> dict[str, str]:
    """Metadata of the file: task, tokenizer, and for each id its text, byte or, of a control token, null."""
    return {
        "task": loaded.task,
        "tokenizer": loaded.codec.name,
        "pieces": json.dumps(loaded.codec.pieces(), ensure_ascii=False),
    }
