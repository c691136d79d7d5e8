"""Language models as state dicts of PyTorch's own modules: `nn.Embedding`, `nn.LSTM` (or its like) and `nn.Linear`."""

from __future__ import annotations

import numpy as np

from seqgen.checkpoint import Checkpoint
from seqgen.errors import ModelError
from seqgen.generation.engines.base import output_matrix
from seqgen.specs.cells import CELLS
from seqgen.tensors import dump


def export_torch(loaded: Checkpoint) -> bytes:
    """A language model's weights as a safetensors file.

    Tensors: `embedding.weight`, `rnn.weight_ih_l0` … as `torch.nn.LSTM`, `GRU` or `RNN` names them, `output.weight` and
    `output.bias`. The metadata has the class of `rnn` and its arguments.

    Raises:
        ModelError: the model predicts no ids, or PyTorch has no module for its cell.
    """
    config = loaded.language_config
    spec = CELLS[config.cell]
    if not spec.fused:
        raise ModelError(f"cannot export the cell {spec.name!r}: PyTorch has no module for it")
    weights = loaded.weights()
    tensors = {"embedding.weight": weights["embedding"]}
    for layer in range(config.num_layers):
        ours = f"layers.{layer}."
        bias = weights[ours + "bias"]
        tensors |= {
            f"rnn.weight_ih_l{layer}": weights[ours + "input_weight"],
            f"rnn.weight_hh_l{layer}": weights[ours + "recurrent_weight"],
            f"rnn.bias_ih_l{layer}": bias,
            f"rnn.bias_hh_l{layer}": weights.get(ours + "recurrent_bias", np.zeros_like(bias)),
        }
    tensors |= {"output.weight": output_matrix(weights), "output.bias": weights["output_bias"]}
    metadata = {
        "format": "pt",
        "class": spec.name.upper(),
        "input_size": str(config.embedding_size),
        "hidden_size": str(config.rnn_size),
        "num_layers": str(config.num_layers),
    }
    if len(spec.activations) > 1:
        metadata["nonlinearity"] = spec.effective_activation(config.activation)
    return dump(tensors, metadata)
