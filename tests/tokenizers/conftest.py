"""A codec of each tokenizer."""

from __future__ import annotations

import pytest

from seqgen import tokenizers
from seqgen.tokenizers import Codec
from tests.helpers.texts import FITTED_ON, TOKENIZERS


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    """One of every kind, fitted on the same text."""
    return {kind: tokenizers.fit(kind, [FITTED_ON]) for kind in TOKENIZERS}


@pytest.fixture(params=TOKENIZERS, scope="module")
def codec(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]
