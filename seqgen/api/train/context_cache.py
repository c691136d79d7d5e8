"""The mixture of a language model with its context cache, fitted to the held-out part before that is learnt."""

from __future__ import annotations

import dataclasses
from typing import cast

from seqgen.api.train.folder import ModelFolder, Training
from seqgen.checkpoint import Weights
from seqgen.config import NetworkConfig
from seqgen.corpus.ids import IdStream
from seqgen.generation.engines.choose import make_engine
from seqgen.generation.engines.context_cache import CONTEXT_CACHE, fit_mixture
from seqgen.tokenizers import Codec

_STREAMS = 256  # for which an engine is chosen that is fast without kernels too


def fit(training: Training, folder: ModelFolder, weights: Weights) -> None:
    """Record θ and λ for `weights` in config.json, if the task's models have a cache and enough is held out."""
    held_out, network = training.data.held_out, training.plan.network
    if "context_cache" not in training.task.spec.option_groups or not isinstance(held_out, IdStream):
        return
    assert isinstance(network, NetworkConfig)
    engine = make_engine(network, weights, streams=_STREAMS)
    mixture = fit_mixture(engine, held_out.ids, cast(Codec, training.data.codec).end)
    if mixture is not None and folder.config.get(CONTEXT_CACHE) != dataclasses.asdict(mixture):
        folder.update({CONTEXT_CACHE: dataclasses.asdict(mixture)})
