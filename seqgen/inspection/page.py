"""A page about a network: one HTML file that loads nothing else, for the units of a record or its saliency."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.inspection.base import Floats, Saliency
from seqgen.inspection.meaning import UnitMeaning
from seqgen.inspection.views import View

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclasses.dataclass(frozen=True)
class PageLayer:
    """The values of a layer: its number from 1, its name, values of shape (steps, units), and the range of each unit's
    colours, shape (units,)."""

    number: int
    name: str
    values: Floats
    low: Floats
    high: Floats


def units_page(
    view: View, layers: Sequence[PageLayer], meanings: Sequence[UnitMeaning], unit: int, layer: int, title: str
) -> str:
    """The page of the units of some layers, which begins with one unit of a layer."""
    shown = [
        {
            "number": own.number, "name": own.name, "units": own.values.shape[1], "low": own.low.tolist(),
            "high": own.high.tolist(),
            "values": _base64((own.values - own.low) / (own.high - own.low)),
        }
        for own in layers
    ]  # fmt: skip
    listed = [dataclasses.asdict(meaning) for meaning in meanings]
    return _page(view, title, layers=shown, meanings=listed, unit=unit, layer=layer)


def saliency_page(view: View, saliency: Saliency, predicted: Sequence[str], title: str) -> str:
    """The page of what each prediction leaned on; `predicted` names them."""
    largest = saliency.shares.max(axis=1, initial=1e-30)
    found = {
        "lags": saliency.shares.shape[1],
        "steps": saliency.steps.tolist(),
        "shares": _base64(saliency.shares / largest[:, None]),
        "largest": [float(value) for value in largest],
        "predicted": list(predicted),
        "probability": [None if np.isnan(value) else float(value) for value in saliency.probability],
    }
    return _page(view, title, layers=[], meanings=[], unit=0, layer=1, saliency=found)


def _page(view: View, title: str, **data: Any) -> str:
    payload = json.dumps({**view.payload(), "title": title, **data}, ensure_ascii=True, allow_nan=False)
    # In the text of a script only `<` could end it.
    return _TEMPLATE.read_text("utf-8").replace("DATA", payload.replace("<", "\\u003c"), 1)


def _base64(shares: Floats) -> str:
    """Numbers from 0 to 1 as a byte each, row by row."""
    return base64.b64encode(np.clip(np.rint(shares * 255), 0, 255).astype(np.uint8).tobytes()).decode()
