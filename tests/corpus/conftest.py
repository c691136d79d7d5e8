"""Fixtures for tests of documents."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Hypothesis, whose examples write over one another's files."""
    return tmp_path_factory.mktemp("scratch")
