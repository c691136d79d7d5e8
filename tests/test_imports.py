"""Imports: the public names, and heavy packages that stay unloaded until they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import COMMANDS, imported_packages

GOLDEN = Path(__file__).parent / "golden" / "models"
HEAVY = {"torch", "numpy", "safetensors", "sentencepiece", "datasets", "zstandard", "pyppmd", "mido"}
MAIN = "import sys\nfrom seqgen.cli.main import main\nassert main(sys.argv[1:]) == 0"


def test_package_all_names_exist() -> None:
    assert set(seqgen.__all__) <= set(dir(seqgen))
    for name in seqgen.__all__:
        assert getattr(seqgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqgen.nothing


@pytest.mark.parametrize(
    "module", ["seqgen", "seqgen.errors", "seqgen.config", "seqgen.streams", "seqgen.specs.tasks", "seqgen.cli.main"]
)
def test_import_of_a_light_module_loads_nothing_heavy(module: str) -> None:
    allowed = {"typer", "rich"} if module == "seqgen.cli.main" else set()
    assert not imported_packages(f"import {module}") & (HEAVY | {"typer", "rich"}) - allowed


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=str)
def test_help_of_a_command_loads_nothing_heavy(command: list[str]) -> None:
    assert not imported_packages(MAIN, *command, "--help") & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "MODEL", "--length", "50", "-n", "2"],
        ["sample", "MODEL", "--json", "--top-p", "0.9", "--prompt", "the"],
        ["info", "MODEL"],
        ["tokenize", "MODEL", "TEXT"],
        ["tokenize", "subword", "TEXT", "--check"],
        ["corpora"],
        ["forecast", "FORECASTER", "weather", "--backtest", "2"],
        ["evaluate", "FORECASTER", "weather", "--json"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_command_that_trains_nothing_does_not_load_torch(
    arguments: list[str], model_folder: Path, text_file: Path
) -> None:
    paths = {"MODEL": model_folder, "TEXT": text_file, "FORECASTER": GOLDEN / "weather-gru"}
    assert not imported_packages(MAIN, *(paths.get(word, word) for word in arguments)) & {"torch", "datasets"}
