"""What networks are: all that is needed to build one again before its weights are read, one dataclass a kind."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.errors import UserError

CELL_NAMES = ("lstm", "gru", "rnn")


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
        most = {"vocab_size": 1 << 24, "rnn_size": 1 << 16, "num_layers": 64, "embedding_size": 1 << 16}
        for name, limit in most.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
                raise UserError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
        for name in ("dropout", "weight_drop"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 0.95:
                raise UserError(f"{name} must be a number from 0 to 0.95, not {value!r}")
        if self.cell not in CELL_NAMES:
            raise UserError(f"cell must be one of {', '.join(CELL_NAMES)}; not {self.cell!r}")
        if self.activation not in ("tanh", "relu"):
            raise UserError(f"activation must be tanh or relu, not {self.activation!r}")

    @property
    def summary(self) -> str:
        """In a few words: `1 × LSTM 256`."""
        return f"{self.num_layers} × {self.cell.upper()} {self.rnn_size:,}"


AnyNetwork = NetworkConfig

# Task → the kind of network that its models have.
NETWORKS: dict[str, type[AnyNetwork]] = {"text": NetworkConfig, "dialogue": NetworkConfig, "music": NetworkConfig}
