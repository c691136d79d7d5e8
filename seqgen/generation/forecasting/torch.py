"""Forecasting by PyTorch, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from seqgen.config import ForecasterConfig
from seqgen.corpus.series.windows import Floats, Integers
from seqgen.model.forecaster import Forecaster


class TorchForecaster:
    """A `WindowForecaster` by the network itself."""

    def __init__(self, network: Forecaster) -> None:
        self._network = network.eval()

    @property
    def config(self) -> ForecasterConfig:
        return self._network.config

    def predict(
        self, history: Floats, channel: Integers, past: Floats, known: Floats, lagged: Floats | None = None
    ) -> Floats:
        """See `WindowForecaster.predict`."""
        device = self._network.segment_weight.device
        inputs = [torch.from_numpy(values).to(device) for values in (history, channel)]
        # A network without covariates takes none, rather than none of each row.
        covariates = [
            torch.from_numpy(values).to(device) if values is not None and values.shape[2] else None
            for values in (past, known, lagged)
        ]
        with torch.inference_mode():
            outputs = self._network.predict(inputs[0], inputs[1], *covariates)
        result: Floats = outputs.float().cpu().numpy()
        return result


def load_torch_forecaster(
    config: ForecasterConfig, weights: Mapping[str, Floats], device: torch.device
) -> TorchForecaster:
    """Make a forecaster with these weights."""
    network = Forecaster(config)
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()})
    return TorchForecaster(network.to(device))
