"""What networks are: all that is needed to build one again before its weights are read, one dataclass a kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqgen.errors import UserError

CELL_NAMES = ("lstm", "gru", "rnn")
NORMALISATIONS = ("changes", "last", "window")
DIRECTIONS = ("forward", "backward", "both")


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is: all that is needed to build it again before its weights are read.

    Raises `UserError` for what no network can be; the limits are those of the flags.
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
        _check_numbers(self)

    @property
    def summary(self) -> str:
        """In a few words: `1 × LSTM 256`."""
        return f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}"


@dataclass(frozen=True)
class GenerativeConfig(NetworkConfig):
    """A language model of texts that begin with their label, by which it sorts: its labels, and how texts are prepared.

    Raises `UserError` for what none can be.
    """

    labels: tuple[str, ...] = ()
    lowercase: bool = False
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_labels(self.labels)

    @property
    def multi(self) -> bool:
        """Whether a text may have several labels: it can't."""
        return False


@dataclass(frozen=True)
class ForecasterConfig:
    """What a forecaster is: how far it looks back and ahead, in which segments, and its recurrent stack.

    `levels` are the quantiles, in percent, that it gives beside the point forecast: an odd number of them, even about
    the middle one, 50; or none. Raises `UserError` for what none can be.
    """

    targets: int
    look_back: int
    horizon: int
    segment_length: int
    levels: tuple[float, ...] = ()
    past: int = 0  # covariates known up to now
    known: int = 0  # covariates known ahead, the calendar's included
    cell: str = "gru"
    activation: str = "tanh"
    rnn_size: int = 64
    num_layers: int = 1
    embedding_size: int = 64
    dropout: float = 0.0
    linear: bool = False  # a linear map from look-back to horizon beside the network
    normalisation: str = "changes"  # what a window is moved by and divided by, one of NORMALISATIONS

    def __post_init__(self) -> None:
        most = {
            "targets": 1 << 16, "look_back": 1 << 20, "horizon": 1 << 20, "segment_length": 1 << 20,
            "rnn_size": 1 << 16, "num_layers": 64, "embedding_size": 1 << 16,
        }  # fmt: skip
        for name in (*most, "past", "known"):
            value, least = getattr(self, name), 0 if name in ("past", "known") else 1
            limit = most.get(name, 1 << 16)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= limit:
                raise UserError(f"{name} must be a whole number from {least} to {limit}, not {value!r}")
        if isinstance(self.dropout, bool) or not 0 <= self.dropout <= 0.95:
            raise UserError(f"dropout must be a number from 0 to 0.95, not {self.dropout!r}")
        if self.cell not in CELL_NAMES:
            raise UserError(f"cell must be one of {', '.join(CELL_NAMES)}; not {self.cell!r}")
        if self.activation not in ("tanh", "relu"):
            raise UserError(f"activation must be tanh or relu, not {self.activation!r}")
        if self.normalisation not in NORMALISATIONS:
            raise UserError(f"normalisation must be one of {', '.join(NORMALISATIONS)}; not {self.normalisation!r}")
        ordered = tuple(sorted(set(self.levels))) == self.levels
        even = all(abs(low + high - 100) < 1e-9 for low, high in zip(self.levels, self.levels[::-1], strict=True))
        if not ordered or not even or (self.levels and (len(self.levels) % 2 == 0 or not self.levels[0] > 0)):
            raise UserError("levels must be rising percentages, even about 50, and 50 among them")

    @property
    def horizon_segments(self) -> int:
        """Segments that the horizon is cut into."""
        return -(-self.horizon // self.segment_length)

    @property
    def num_outputs(self) -> int:
        """Numbers for each step ahead: the point forecast and the quantiles."""
        return 1 + len(self.levels)

    @property
    def median_index(self) -> int:
        """Which of the levels is the median."""
        return len(self.levels) // 2

    @property
    def summary(self) -> str:
        """In a few words: `1 × GRU 64, 96 steps back in segments of 24, 24 ahead`."""
        return (
            f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}, {self.look_back:,} steps back in segments of "
            f"{self.segment_length:,}, {self.horizon:,} ahead"
        )


@dataclass(frozen=True)
class ClassifierConfig:
    """What a classifier is: its labels, how texts are prepared and cut, its recurrent stack and its linear model.

    Raises `UserError` for what none can be.
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
    stretch: int = 100  # ids read in a row, from an empty state
    features: int = 0  # n-grams that the linear model knows; 0 is no such model
    ngrams: int = 3  # the longest, in words
    lowercase: bool = False
    stop_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_labels(self.labels)
        if self.direction not in DIRECTIONS:
            raise UserError(f"direction must be one of {', '.join(DIRECTIONS)}; not {self.direction!r}")
        if not 0 <= self.features <= 1 << 24:
            raise UserError(f"features must be from 0 to {1 << 24:,}, not {self.features}")
        if not (1 <= self.ngrams <= 5 and 1 <= self.stretch <= 1 << 20):
            raise UserError("ngrams must be from 1 to 5, and stretch from 1 to 1,048,576")

    @property
    def directions(self) -> tuple[str, ...]:
        """In which it reads."""
        return ("forward", "backward") if self.direction == "both" else (self.direction,)

    @property
    def summary(self) -> str:
        """In a few words: `1 × LSTM 128, both directions`."""
        ways = ", both directions" if self.direction == "both" else f", {self.direction}"
        return f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}{ways}"


def _check_numbers(config: NetworkConfig | ClassifierConfig) -> None:
    """What every recurrent stack over ids must keep."""
    most = {"vocab_size": 1 << 24, "rnn_size": 1 << 16, "num_layers": 64, "embedding_size": 1 << 16}
    for name, limit in most.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise UserError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
    for name in ("dropout", "weight_drop"):
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 0.95:
            raise UserError(f"{name} must be a number from 0 to 0.95, not {value!r}")
    if config.cell not in CELL_NAMES:
        raise UserError(f"cell must be one of {', '.join(CELL_NAMES)}; not {config.cell!r}")
    if config.activation not in ("tanh", "relu"):
        raise UserError(f"activation must be tanh or relu, not {config.activation!r}")


def _check_labels(labels: tuple[str, ...]) -> None:
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise UserError("a classifier needs two labels or more, each once")


AnyNetworkConfig = NetworkConfig | ClassifierConfig | ForecasterConfig
AnyClassifierConfig = ClassifierConfig | GenerativeConfig  # the kinds that know labels

# Task → the kinds of network that its models have.
NETWORK_CONFIGS: dict[str, tuple[type[AnyNetworkConfig], ...]] = {
    "text": (NetworkConfig,), "dialogue": (NetworkConfig,), "music": (NetworkConfig,),
    "classify": (ClassifierConfig, GenerativeConfig), "forecast": (ForecasterConfig,),
}  # fmt: skip


def network_config_class(task: str, table: Mapping[str, Any]) -> type[AnyNetworkConfig]:
    """The kind of network that `table`, as config.json has it, describes: the first of the task's that has its fields,
    or, where none has, the first of all, which will say what is wrong."""
    kinds = NETWORK_CONFIGS[task]
    names = {kind: {field.name for field in dataclasses.fields(kind)} for kind in kinds}
    return next((kind for kind in kinds if set(table) <= names[kind]), kinds[0])
