"""A codec of each tokenizer."""

from __future__ import annotations

import pytest

from seqgen import tokenizers
from seqgen.tokenizers import Codec
from tests.helpers.texts import FITTED_ON, TOKENIZERS


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    """One of each tokenizer, fitted on the same text."""
    return {name: tokenizers.fit(name, [FITTED_ON]) for name in TOKENIZERS}


@pytest.fixture(params=TOKENIZERS, scope="module")
def codec(request: pytest.FixtureRequest, codecs: dict[str, Codec]) -> Codec:
    return codecs[request.param]
