"""Arguments as people give them from Python: paths, tables, numbers of NumPy; and processes that are forked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen.api.sources import as_list
from seqgen.errors import UserError


class Table:
    """What looks like a DataFrame."""

    columns = ("time", "value")

    def to_csv(self) -> str:
        return "time,value\n"


def test_sources_are_named_by_texts_and_paths() -> None:
    path = Path("a") / "b.txt"
    assert as_list(path) == as_list([path]) == as_list(str(path)) == as_list(iter([str(path)])) == [str(path)]
    for several in (np.array([str(path)]), {str(path): 1}.keys(), {str(path)}, (each for each in [path])):
        assert as_list(several) == [str(path)]
    for wrong, kind in (
        (Table(), "Table"), ([Table()], "Table"), (None, "NoneType"), (3, "int"), ([b"a"], "bytes"), (b"", "bytes"),
        ({"a": 1}, "dict"), (np.array("a"), "ndarray"), (["a", None], "NoneType"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"not by {kind}; only `train` takes data in memory, as `data`"):
            as_list(wrong)  # type: ignore[arg-type]


def test_sources_beside_data_are_refused_in_any_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sources or data, not both"):
        seqgen.train(np.array(["a", "b"]), tmp_path / "m", data=["a"])  # type: ignore[arg-type]


def test_cells_that_are_no_names_are_refused_as_cells(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cells are named by texts, not by int$"):
        seqgen.compare("tidewater", tmp_path / "c", cells=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", ["one text", b"one text", Table(), None, ["a", None], [1.5]])
def test_texts_to_classify_are_texts(zoo: dict[str, Path], texts: object) -> None:
    with pytest.raises(UserError, match=r"not as |not str or bytes"):
        seqgen.load(zoo["classify"]).classify(texts)  # type: ignore[arg-type]


def test_a_model_is_read_from_where_it_was_loaded(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = zoo["text"]
    monkeypatch.chdir(folder.parent)
    model = seqgen.load(folder.name)
    monkeypatch.chdir(tmp_path)
    assert len(model.sample("The", length=5)[0].text) == 5


def test_numbers_of_numpy_are_numbers(zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo["text"])
    given = model.sample("The", length=np.int64(9), seed=np.int64(3), temperature=np.float32(0.5))
    assert given[0].text == model.sample("The", length=9, seed=3, temperature=0.5)[0].text
    for n, first in ((-1, 0), (1, -1)):
        with pytest.raises(UserError, match="negative"):
            model.sample("The", n, first=first, length=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_a_model(zoo: dict[str, Path]) -> None:
    """Threads that helped the parent don't exist in the child: it waited for them."""
    writer, labeller = seqgen.load(zoo["text"]), seqgen.load(zoo["classify"])

    def use() -> list[object]:
        many = [sample.text for sample in writer.sample("The", 64, length=20)]
        return [many, writer.sample("The", length=50)[0].text, labeller.classify(["a good lamp " * 20] * 200)]

    before = use()
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(0 if use() == before else 1)
    assert os.waitpid(child, 0)[1] == 0
