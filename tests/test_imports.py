"""Imports: the public names, and heavy packages that stay unloaded until they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import COMMANDS, imported


def test_the_package_shows_what_it_has() -> None:
    assert set(seqgen.__all__) <= set(dir(seqgen))
    for name in seqgen.__all__:
        assert getattr(seqgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqgen.nothing


# ---- What is not needed is not imported ----

COMMAND = "import sys\nfrom seqgen.cli.main import main\nassert main(sys.argv[1:]) == 0"


def test_importing_the_package_costs_nothing() -> None:
    assert not imported("import seqgen") & {"torch", "numpy", "typer", "rich", "safetensors", "sentencepiece"}


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=str)
def test_help_needs_neither_torch_nor_numpy(command: list[str]) -> None:
    assert not imported(COMMAND, *command, "--help") & {"torch", "numpy", "safetensors", "sentencepiece", "datasets"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "MODEL", "--length", "50", "-n", "2"],
        ["sample", "MODEL", "--json", "--top-p", "0.9", "--prompt", "the"],
        ["info", "MODEL"],
        ["tokenize", "MODEL", "TEXT"],
        ["tokenize", "subword", "TEXT", "--check"],
        ["corpora"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_what_trains_nothing_starts_without_torch(arguments: list[str], model_folder: Path, text_file: Path) -> None:
    places = {"MODEL": model_folder, "TEXT": text_file}
    assert not imported(COMMAND, *(places.get(word, word) for word in arguments)) & {"torch", "datasets"}
