"""What networks are: all that is needed to build one again before its weights are read, one dataclass a kind."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.errors import UserError

CELL_NAMES = ("lstm", "gru", "rnn")
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
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise UserError("a classifier needs two labels or more, each once")
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


AnyNetwork = NetworkConfig | ClassifierConfig

# Task → the kind of network that its models have.
NETWORKS: dict[str, type[AnyNetwork]] = {
    "text": NetworkConfig, "dialogue": NetworkConfig, "music": NetworkConfig, "classify": ClassifierConfig,
}  # fmt: skip
