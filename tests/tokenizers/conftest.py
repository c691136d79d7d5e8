"""A codec of each tokenizer."""

from __future__ import annotations

import pytest

from seqgen import tokenizers
from seqgen.tokenizers import Codec
from tests.helpers.texts import FITTED_ON, KINDS


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    """One of every kind, fitted on the same text."""
    return {kind: tokenizers.fit(kind, [FITTED_ON]) for kind in KINDS}


@pytest.fixture(params=KINDS, scope="module")
def codec(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]
