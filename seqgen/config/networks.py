"""Configurations of networks: everything needed to build one before its weights are loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seqgen.errors import UserError
from seqgen.specs.cells import check_cell
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS

NORMALISATIONS = ("changes", "last", "window")
DIRECTIONS = ("forward", "backward", "both")
ADDED = {"added": True}  # metadata of a field that older models lack: at its default, it is no part of their identity


class StackConfig(Protocol):
    """The settings of a recurrent stack, which every network config has."""

    @property
    def cell(self) -> str: ...
    @property
    def activation(self) -> str: ...
    @property
    def embedding_size(self) -> int: ...
    @property
    def rnn_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...


@dataclass(frozen=True)
class NetworkConfig:
    """Configuration of a recurrent language model.

    Raises `UserError` for impossible values; the limits are those of the flags.
    """

    vocab_size: int
    cell: str = "lstm"
    activation: str = "tanh"
    rnn_size: int = 512
    num_layers: int = 1
    embedding_size: int = 128
    tie_weights: bool = False
    dropout: float = 0.0
    weight_drop: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self, {"vocab_size": 1 << 24})

    @property
    def label_tokens(self) -> int:
        """Ids that stand for labels, as in `LabelledCodec.labels`."""
        return 0

    @property
    def summary(self) -> str:
        """A short description: `1 × LSTM 256`."""
        return f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}"


@dataclass(frozen=True)
class GenerativeConfig(NetworkConfig):
    """Configuration of a generative classifier: a language model of texts that begin with their label.

    Raises `UserError` for impossible values.
    """

    labels: tuple[str, ...] = ()
    lowercase: bool = False
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_labels(self.labels)

    @property
    def label_tokens(self) -> int:
        return len(self.labels)

    @property
    def multi(self) -> bool:
        """Whether a text may have several labels; always false."""
        return False


@dataclass(frozen=True)
class ForecasterConfig:
    """Configuration of a forecaster: windows, segments and recurrent stack.

    `levels` are the quantiles, in percent, to forecast besides the point forecast: an odd number of them, symmetric
    about 50; or none. Raises `UserError` for impossible values.
    """

    targets: int
    look_back: int
    horizon: int
    segment_length: int
    levels: tuple[float, ...] = ()
    past: int = 0  # covariates known up to now
    known: int = 0  # covariates known in advance, including the calendar's
    cell: str = "gru"
    activation: str = "tanh"
    rnn_size: int = 64
    num_layers: int = 1
    embedding_size: int = 64
    dropout: float = 0.0
    linear: bool = False  # adds a linear map from look-back to horizon
    normalisation: str = "changes"  # shift and scale of a window, one of NORMALISATIONS
    lags: tuple[int, ...] = field(default=(), metadata=ADDED)  # seasons, in rows, whose earlier values are inputs
    effects: int = field(default=0, metadata=ADDED)  # leading known covariates whose linear effect is taken apart
    mixture: bool = field(default=False, metadata=ADDED)  # with a linear map and the seasonal naive forecast
    season: int = field(default=1, metadata=ADDED)  # rows, of the seasonal naive forecast

    def __post_init__(self) -> None:
        _check_numbers(
            self,
            {
                "targets": 1 << 16,
                "look_back": 1 << 20,
                "horizon": 1 << 20,
                "segment_length": 1 << 20,
                "season": 1 << 20,
            },
            ("past", "known", "effects"),
        )
        if self.effects > self.known:
            raise UserError("effects must not be more than the known covariates")
        if list(self.lags) != sorted(set(self.lags)) or not all(1 <= lag <= 1 << 20 for lag in self.lags):
            raise UserError("lags must be rising numbers of rows, from 1 to 1,048,576")
        if self.normalisation not in NORMALISATIONS:
            raise UserError(f"normalisation must be one of {', '.join(NORMALISATIONS)}; not {self.normalisation!r}")
        ordered = tuple(sorted(set(self.levels))) == self.levels
        symmetric = all(abs(low + high - 100) < 1e-9 for low, high in zip(self.levels, self.levels[::-1], strict=True))
        if not ordered or not symmetric or (self.levels and (len(self.levels) % 2 == 0 or not self.levels[0] > 0)):
            raise UserError("levels must be rising percentages, symmetric about 50, and include 50")

    @property
    def horizon_segments(self) -> int:
        """Number of segments in the horizon."""
        return -(-self.horizon // self.segment_length)

    @property
    def horizon_inputs(self) -> int:
        """Inputs for each step ahead: covariates known in advance; for each lag its value, and whether there is one."""
        return self.known + 2 * len(self.lags)

    @property
    def num_outputs(self) -> int:
        """Outputs for each step ahead: the point forecast and the quantiles."""
        return 1 + len(self.levels)

    @property
    def median_index(self) -> int:
        """Index of the median among the levels."""
        return len(self.levels) // 2

    @property
    def summary(self) -> str:
        """A short description: `1 × GRU 64, 96 steps back in segments of 24, 24 ahead`."""
        return (
            f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}, {self.look_back:,} steps back in segments of "
            f"{self.segment_length:,}, {self.horizon:,} ahead"
        )


@dataclass(frozen=True)
class ClassifierConfig:
    """Configuration of a classifier: labels, preparation of texts, recurrent stack and linear model.

    Raises `UserError` for impossible values.
    """

    vocab_size: int
    labels: tuple[str, ...]
    multi: bool = False  # a text may have several labels, or none
    cell: str = "lstm"
    activation: str = "tanh"
    direction: str = "both"
    rnn_size: int = 128
    num_layers: int = 1
    embedding_size: int = 128
    dropout: float = 0.0
    weight_drop: float = 0.0
    stretch: int = 100  # ids in a chunk, which is read from a zero state
    features: int = 0  # n-grams of the linear model; 0 for no linear model
    ngrams: int = 3  # longest n-gram, in words
    affixes: int = field(default=0, metadata=ADDED)  # longest prefix and suffix of a word, beside the n-grams; 0: none
    lowercase: bool = False
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_numbers(self, {"vocab_size": 1 << 24})
        _check_labels(self.labels)
        if self.direction not in DIRECTIONS:
            raise UserError(f"direction must be one of {', '.join(DIRECTIONS)}; not {self.direction!r}")
        if not 0 <= self.features <= 1 << 24:
            raise UserError(f"features must be from 0 to {1 << 24:,}, not {self.features}")
        if not (1 <= self.ngrams <= 5 and 0 <= self.affixes <= 16 and 1 <= self.stretch <= 1 << 20):
            raise UserError("ngrams must be from 1 to 5, affixes from 0 to 16, and stretch from 1 to 1,048,576")

    @property
    def label_tokens(self) -> int:
        """None: labels are outputs, not ids."""
        return 0

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions in which the network reads."""
        return ("forward", "backward") if self.direction == "both" else (self.direction,)

    @property
    def summary(self) -> str:
        """A short description: `1 × LSTM 128, both directions`."""
        directions = ", both directions" if self.direction == "both" else f", {self.direction}"
        return f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}{directions}"


def _check_numbers(config: AnyNetworkConfig, limits: Mapping[str, int], counts: tuple[str, ...] = ()) -> None:
    """Raise `UserError` for values that no network can have.

    Args:
        limits: largest value of the fields that are at least 1, besides those of every recurrent stack.
        counts: fields that may be 0.
    """
    ranges = {name: (1, limit) for name, limit in limits.items()}
    ranges |= {"rnn_size": (1, 1 << 16), "num_layers": (1, 64), "embedding_size": (1, 1 << 16)}
    ranges |= dict.fromkeys(counts, (0, 1 << 16))
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise UserError(f"{name} must be an integer from {least} to {most}, not {value!r}")
    for name in ("dropout", "weight_drop"):
        value = getattr(config, name, 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 0.95:
            raise UserError(f"{name} must be a number from 0 to 0.95, not {value!r}")
    check_cell(config.cell, config.activation)


def _check_labels(labels: tuple[str, ...]) -> None:
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise UserError("a classifier needs at least two labels, without duplicates")


AnyNetworkConfig = NetworkConfig | ClassifierConfig | ForecasterConfig
AnyClassifierConfig = ClassifierConfig | GenerativeConfig


def network_config_class(task: str, table: Mapping[str, Any]) -> type[AnyNetworkConfig]:
    """The config class that `table`, a part of config.json, describes.

    It is the first of the task's networks whose config has all the fields. If none has, it is the first of all, whose
    error then names the wrong field.
    """
    classes: list[type[AnyNetworkConfig]] = [resolve(network.config) for network in TASKS.find(task).networks]
    return next(
        (each for each in classes if set(table) <= {item.name for item in dataclasses.fields(each)}), classes[0]
    )
