"""A loaded model and its networks, without the features built on it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

from seqgen.checkpoint import RANKER, Checkpoint
from seqgen.config import SampleOptions, make_options
from seqgen.config.settings import check_option_group
from seqgen.errors import ModelError
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.choose import choose_engine, make_engine
from seqgen.generation.state import StateOwner, known_owner
from seqgen.specs.cells import CELLS
from seqgen.tokenizers import Codec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seqgen.generation.forecasting.base import WindowForecaster
    from seqgen.generation.ranking import ReplyRanker
    from seqgen.model.language import LanguageModel
    from seqgen.tokenizers.dialogue import DialogueCodec

_MANY_STREAMS = 256  # for which an engine is chosen that scores many records


class LoadedModel:
    """A checkpoint with its engines and networks, each made on first use.

    Samples are drawn with 8-bit weights if they are faster and cost at most 0.005 bits per token at the end of
    training. `exact` prevents that. Scores and metrics always use the exact weights, also metrics of samples.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        engine: str = "auto",
        device: str = "auto",
        exact: bool = False,
        precision: str = "fp32",
    ) -> None:
        """`engine`, `device` and `precision` choose the engine; the number of samples never does.

        The last digits of two engines differ, and a sample is the same alone or among others.
        """
        self.checkpoint = loaded
        self.engine_name = choose_engine(engine, device, precision, 1, loaded.network.cell)
        self._exact = exact
        self.device = device
        self.precision = precision
        self._adapted: Mapping[str, npt.NDArray[np.float32]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: not the engines and networks, which have pointers and are made again."""
        made = {name for name in vars(self) if isinstance(getattr(type(self), name, None), cached_property)}
        return {name: value for name, value in vars(self).items() if name not in made}

    @property
    def codec(self) -> Codec:
        """The codec between bytes and ids. Raises `ModelError` for a model that reads numbers."""
        return self.checkpoint.codec

    @property
    def task(self) -> str:
        return self.checkpoint.task

    @property
    def text_column(self) -> str | None:
        """The `--text-column` that the model was trained on, if any."""
        return self._trained_with("text_column")

    @property
    def sheet(self) -> str | None:
        """The `--sheet` that the model was trained on, if any."""
        return self._trained_with("sheet")

    def _trained_with(self, option: str) -> str | None:
        options = self.checkpoint.config["training"].get("options", {})
        value = options.get(option) if isinstance(options, dict) else None
        return value if isinstance(value, str) else None

    def trained_columns(self, role: str) -> tuple[str, ...]:
        """The names of the columns that it was trained on, of a role: `text` or `label`; none if they had no names."""
        columns = self.checkpoint.config["data"].get("columns")
        names = columns.get(role) if isinstance(columns, dict) else None
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()

    @cached_property
    def engine(self) -> Engine:
        """The engine that draws samples. It needs torch only for a device other than the CPU."""
        return self._make_engine(self._is_exact)

    @cached_property
    def exact_engine(self) -> Engine:
        """The engine with exact weights, for scores."""
        engine = self.__dict__.get("engine")
        if engine is not None and self._is_exact:
            return engine
        return self._make_engine(True)

    @cached_property
    def batch_engine(self) -> Engine:
        """The engine with exact weights for many records at once: without kernels, that of torch."""
        network = self.checkpoint.language_config
        name = choose_engine("auto", self.device, self.precision, _MANY_STREAMS, network.cell)
        if name == self.engine_name:
            return self.exact_engine
        return make_engine(network, self._weights, name, self.device, True, self.precision)

    def with_context_cache(self, engine: Engine, size: int) -> Engine:
        """The engine with a continuous cache of `size` tokens (`generation.engines.context_cache`); 0 for none.

        Raises `UserError` for a model of another task than text and dialogue, and for a size that no cache has.
        """
        size = make_options(SampleOptions, {"context_cache": size}).context_cache
        if not size:
            return engine
        check_option_group("--context-cache", "context_cache", self.task)
        from seqgen.generation.engines.context_cache import CONTEXT_CACHE, ContextCacheEngine, cache_mixture

        return ContextCacheEngine(engine, size, cache_mixture(self.checkpoint.config.get(CONTEXT_CACHE)))

    def _make_engine(self, exact: bool) -> Engine:
        network = self.checkpoint.language_config
        return make_engine(network, self._weights, self.engine_name, self.device, exact, self.precision)

    @property
    def _weights(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """The weights of engines."""
        return self.checkpoint.weights() if self._adapted is None else self._adapted

    @property
    def _is_exact(self) -> bool:
        """Whether samples are drawn with exact weights. What rounding adapted ones costs was never measured."""
        return self._exact or self._adapted is not None or not self.checkpoint.may_be_rounded

    @property
    def is_adapted(self) -> bool:
        """Whether its engines have other weights than the model folder (`adapt`)."""
        return self._adapted is not None

    @cached_property
    def state_owner(self) -> StateOwner:
        """What binds states to the weights of its engines."""
        loaded = self.checkpoint
        if self._adapted is None:
            return StateOwner(lambda: loaded.fingerprint)
        digest = hashlib.sha256(str(loaded.config["identity"]).encode())
        for weight in self._adapted.values():
            digest.update(weight.tobytes())
        return known_owner(digest.hexdigest())

    def with_exact_samples(self) -> Self:
        """The same model, which draws samples with exact weights."""
        return self if self._is_exact else self._with_exact_samples

    @cached_property
    def _with_exact_samples(self) -> Self:
        """Kept, so that its weights are read once however often a model is evaluated."""
        return type(self)(self.checkpoint, self.engine_name, self.device, True, self.precision)

    def for_replay(self, provenance: Mapping[str, str]) -> Self:
        """The same checkpoint with the engine, device and arithmetic that a receipt names."""
        exact = provenance["arithmetic"] != "8 bits"
        engine, device, precision = provenance["engine"], provenance["device"], provenance["precision"]
        return type(self)(self.checkpoint, engine, device, exact, precision)

    @cached_property
    def forecaster(self) -> WindowForecaster:
        """The networks of a forecaster, averaged: numpy and the native kernels on the CPU, otherwise PyTorch.

        The number of windows never decides, because the last digits of the two differ. Raises `ModelError` for another
        model.
        """
        networks = zip(self.checkpoint.forecaster_configs, self.checkpoint.all_weights(), strict=True)
        config = self.checkpoint.forecaster_config
        made: list[WindowForecaster]
        if self.device not in ("auto", "cpu") or CELLS[config.cell].numpy_step is None:
            from seqgen.generation.forecasting.torch import load_torch_forecaster
            from seqgen.training import device

            compute = device.choose("cpu" if self.device == "auto" else self.device, "fp32", threads=1)
            made = [load_torch_forecaster(each, weights, compute.device) for each, weights in networks]
        else:
            from seqgen.generation.forecasting.numpy import CpuForecaster

            made = [CpuForecaster(each, weights) for each, weights in networks]
        if len(made) == 1:
            return made[0]
        from seqgen.generation.forecasting.average import AverageForecaster

        return AverageForecaster(made)

    @cached_property
    def network(self) -> LanguageModel:
        """The torch network of a language model, in evaluation mode."""
        from seqgen.generation.engines.torch import load_network
        from seqgen.training import device

        # One thread: the matrix products of a single stream are too small for a second one to help.
        compute = device.choose("cpu" if self.device == "auto" else self.device, "fp32", threads=1)
        return load_network(self.checkpoint.language_config, self.checkpoint.weights()).to(compute.device)

    def adapt(self, data: bytes) -> None:
        """Fine-tune the weights in memory on a text (`evaluation.adaptive`), so that samples resemble it.

        Scores use them too. The model folder doesn't change, so there are no records and saved states of such weights.
        Raises `ModelError` for a model that is not of plain text.
        """
        from seqgen.evaluation.adaptive import AdaptiveScorer

        self.require_text_task("adapt to a text")
        scorer = AdaptiveScorer(self.network, self.codec)
        for _ in scorer.read(self.codec.encode(data)):
            pass
        self._adapted = {name: weight.cpu().numpy() for name, weight in scorer.network.state_dict().items()}
        for made in ("engine", "exact_engine", "batch_engine", "state_owner"):
            self.__dict__.pop(made, None)

    @cached_property
    def ranker(self) -> ReplyRanker | None:
        """The learnt ranking of replies of a dialogue model; None if it has none. Raises `ModelError` for damage."""
        loaded = self.checkpoint
        self.dialogue_codec()
        if not (loaded.folder / RANKER).exists():
            return None
        from seqgen.generation.ranking import ReplyRanker

        return ReplyRanker.load(loaded.folder / RANKER, loaded.config["identity"], loaded.network.rnn_size)

    def dialogue_codec(self) -> DialogueCodec:
        """The codec of a dialogue model. Raises `ModelError` for another model."""
        if not self.checkpoint.spec.can_chat:
            raise ModelError(f"this is a model for {self.task}; a conversation needs one for dialogue")
        return cast("DialogueCodec", self.codec)

    def require_text_task(self, action: str) -> None:
        """Raise `ModelError` for a model that can't do `action`, because it is not of plain text."""
        if not self.checkpoint.spec.is_plain_text:
            raise ModelError(f"this is a model for {self.task}: it can't {action}")
