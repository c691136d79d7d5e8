"""Names and shapes of a network's weights, without importing torch.

`model.safetensors` contains exactly these, in float32. Networks and loaded files are checked against this table.
"""

from __future__ import annotations

import re

from seqgen.config import AnyNetworkConfig, ClassifierConfig, ForecasterConfig, GenerativeConfig, NetworkConfig
from seqgen.specs.cells import CELLS
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import network_of

Shape = tuple[int, ...]


def weight_shapes(config: AnyNetworkConfig) -> dict[str, Shape]:
    """The name and shape of every weight, in a fixed order."""
    shapes: dict[str, Shape] = resolve(network_of(config).weight_shapes)(config)
    return shapes


def language_model(config: NetworkConfig) -> dict[str, Shape]:
    """The weights of `language.LanguageModel`."""
    shapes: dict[str, Shape] = {"embedding": (config.vocab_size, config.embedding_size), **_stack(config, "")}
    if not config.tie_weights:
        shapes["output_weight"] = (config.vocab_size, config.rnn_size)
    elif config.embedding_size != config.rnn_size:
        shapes["projection"] = (config.embedding_size, config.rnn_size)
    shapes["output_bias"] = (config.vocab_size,)
    return shapes


def generative_classifier(config: GenerativeConfig) -> dict[str, Shape]:
    """The weights of `generative.GenerativeClassifier`."""
    labels = (len(config.labels),)
    return {**language_model(config), "mix": (1,), "shift": labels, "prior": labels}


def classifier(config: ClassifierConfig) -> dict[str, Shape]:
    """The weights of `classifier.Classifier`."""
    labels = len(config.labels)
    shapes: dict[str, Shape] = {"embedding": (config.vocab_size, config.embedding_size)}
    for number in range(len(config.directions)):
        shapes |= _stack(config, f"readers.{number}.")
    shapes["head_weight"] = (labels, 3 * config.rnn_size * len(config.directions))
    shapes["head_bias"] = (labels,)
    shapes["mix"] = (2,)
    shapes["shift"] = (labels,)
    shapes["prior"] = (labels,)
    shapes["wide_keys"] = (config.features,)
    shapes["wide_weight"] = (config.features, labels)
    shapes["wide_bias"] = (labels,)
    return shapes


def forecaster(config: ForecasterConfig) -> dict[str, Shape]:
    """The weights of `forecaster.Forecaster`."""
    width, segment = config.embedding_size, config.segment_length
    shapes: dict[str, Shape] = {
        "segment_weight": (width, segment * (1 + config.past + config.horizon_inputs)),
        "segment_bias": (width,),
        "place": (config.horizon_segments, width),
        "channel": (config.targets, width),
    }
    if config.horizon_inputs:
        shapes["known_weight"] = (width, segment * config.horizon_inputs)
    shapes |= _stack(config, "")
    shapes["output_weight"] = (segment * config.num_outputs, config.rnn_size)
    shapes["output_bias"] = (segment * config.num_outputs,)
    if config.linear:
        shapes["linear"] = (config.horizon, config.look_back)
    if config.effects:
        shapes["effect"] = (config.targets, config.effects)
    if config.mixture:
        shapes["mixture"] = (config.targets, 3)
        shapes["mixture_weight"] = (config.horizon, config.look_back)
        shapes["mixture_bias"] = (config.horizon,)
    shapes["believed"] = (config.targets,)
    shapes["widening"] = (config.targets, config.horizon, len(config.levels))
    return shapes


def _stack(config: AnyNetworkConfig, prefix: str) -> dict[str, Shape]:
    """The weights of one recurrent stack."""
    spec = CELLS[config.cell]
    rows = spec.gates * config.rnn_size
    shapes: dict[str, Shape] = {}
    width = config.embedding_size
    for number in range(config.num_layers):
        layer = f"{prefix}layers.{number}."
        shapes[layer + "input_weight"] = (rows, width)
        shapes[layer + "recurrent_weight"] = (rows, config.rnn_size)
        shapes[layer + "bias"] = (rows,)
        if spec.recurrent_bias:
            shapes[layer + "recurrent_bias"] = (rows,)
        width = config.rnn_size
    return shapes


def depth(name: str, num_layers: int) -> int:
    """The number of layers that a weight is below the top, by its name.

    0 for the output layer and for weights outside the stack, 1 for the last recurrent layer, `num_layers` + 1 for the
    embedding.
    """
    match = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    if match:
        return num_layers - int(match[1])
    return num_layers + 1 if name == "embedding" else 0


def parameter_count(config: AnyNetworkConfig) -> int:
    """The number of parameters of a network."""
    total = 0
    for shape in weight_shapes(config).values():
        size = 1
        for length in shape:
            size *= length
        total += size
    return total
