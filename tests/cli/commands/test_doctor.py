"""`seqgen doctor`: every part that is broken says so in its line, with a remedy, and hides no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seqgen.api import doctor
from seqgen.cli.main import main
from tests.helpers.running import Run

NAMES = ["seqgen", "python", "torch", "packages", "processor", "kernels", "threads", "gpu", "memory", "cache",
         "extra baselines", "extra excel", "extra onnx", "extra serve", "extra holidays", "learning",
         "writing"]  # fmt: skip


@pytest.fixture(autouse=True)
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE_SECONDS", 0.05)


def test_doctor_of_a_working_installation_has_a_line_for_each_part(run: Run) -> None:
    result = run("doctor")
    assert result.status == 0
    names = [line[:17].strip() for line in result.lines if not line.startswith(" ")]
    assert names == [*NAMES, "training"]
    assert re.search(r"^learning +[\d,]+ characters a minute .* novel of 1 MB in", result.text, re.MULTILINE)
    assert result.lines[-1].split() == ["training", "works"]


def test_doctor_json_has_numbers(run: Run) -> None:
    result = run("doctor", "--json").json
    assert result["trains"] is True
    findings = result["findings"]
    assert list(findings) == NAMES
    assert findings["processor"]["cores"] >= 1
    assert findings["threads"]["threads"] >= 1
    assert findings["learning"]["characters_per_minute"] > 1000
    assert findings["writing"]["characters_per_minute"] > 100
    assert {finding["status"] for finding in findings.values()} <= {"ok", "warning"}


BROKEN = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from seqgen import native
from seqgen.api import doctor
from seqgen.cli.main import main
native.LIBRARY = Path(sys.argv[1])
doctor._PROBE_SECONDS = 0.05
sys.exit(main(["doctor"]))
"""


def test_doctor_of_a_broken_installation_names_what_is_broken_with_remedies(tmp_path: Path) -> None:
    """PyTorch is missing, the kernels are no library, and the cache can't be written."""
    library = tmp_path / "kernels.so"
    library.write_text("no library")
    environment = {**os.environ, "SEQGEN_CACHE": str(library / "cache")}
    environment.pop("SEQGEN_NATIVE", None)  # kernels that are switched off are not broken
    broken = subprocess.run(
        [sys.executable, "-c", BROKEN, str(library)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert broken.returncode == 1
    assert broken.stderr == ""
    lines = {line[:17].strip(): line[17:] for line in broken.stdout.splitlines() if not line.startswith(" ")}
    assert lines["torch"] == "not installed"
    assert "can't be loaded" in lines["kernels"]
    assert "can't be written" in lines["cache"]
    assert lines["learning"] == lines["gpu"] == "not examined: needs PyTorch"
    assert "characters a minute" in lines["writing"], "numpy writes without either"
    assert lines["training"] == "does not work: see torch, cache"
    remedies = [line.strip() for line in broken.stdout.splitlines() if line.startswith(" ")]
    assert [re.sub(r"\W+", " ", remedy).split()[0] for remedy in remedies] == ["pip", "install", "set"]


def test_doctor_survives_any_exception_of_a_part(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails() -> doctor.Finding:
        raise RuntimeError("two\nlines \x1b[31m")

    for name in ("_packages", "_memory", "_learning"):
        monkeypatch.setattr(doctor, name, fails)
    assert main(["doctor"]) == 1
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert shown.out.count("RuntimeError: two lines") == 3
    assert shown.out.endswith("does not work: see packages, learning\n")


def test_doctor_knows_the_packages_and_extras_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    required = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in project["dependencies"]}
    assert set(doctor.PACKAGES) | {"torch"} == required
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"test"}
