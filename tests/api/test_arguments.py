"""Arguments as people give them from Python: paths, tables, numbers of NumPy; and processes that are forked."""

from __future__ import annotations

import copy
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import seqgen
from seqgen.api.model import Model
from seqgen.api.reading.run import read
from seqgen.api.sources import Sources, as_list
from seqgen.api.train.plan import plan
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


@pytest.mark.parametrize("texts", ["one text", b"one text", Table(), {"text": ["a"]}, None, ["a", None], [1.5]])
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


def test_options_without_a_value_are_refused_by_name(zoo: dict[str, Path], tmp_path: Path) -> None:
    """None is a value where a help says so, as of `length`."""
    model = seqgen.load(zoo["text"])
    assert model.sample("The", length=None, grammar=None) == model.sample("The", length=500)
    for name in ("seed", "temperature", "top_k", "context_cache"):
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must be .*, not None"):
            model.sample("The", **{name: None})
    with pytest.raises(UserError, match="--seed must be int, not None"):
        seqgen.train(zoo["text"].parent / "prose.txt", tmp_path / "m", seed=None)


def test_numbers_beside_the_options_are_checked(zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo["text"])
    for size in (-1, 1 << 20, "x", 1.5):
        with pytest.raises(UserError, match="--context-cache must be"):
            model.score("The ferry", context_cache=size)  # type: ignore[arg-type]
    assert model.score("The ferry", context_cache=np.int64(9)) == model.score("The ferry", context_cache=9)
    for length in (-5, 0, 10.5, True, None, 1 << 21):
        with pytest.raises(UserError, match="--length must be a number of steps"):
            model.inspect(zoo["text"].parent / "prose.txt", length)  # type: ignore[arg-type]
    assert len(model.inspect(zoo["text"].parent / "prose.txt", np.int64(7)).records[0].input) == 7


USES: dict[str, Callable[[Model], Any]] = {
    "text": lambda model: model.sample("The", length=9),
    "subword": lambda model: model.sample("The", length=9),
    "dialogue": lambda model: list(model.conversation().reply()),
    "music": lambda model: model.compose(length=1)[0].piece,
    "classify": lambda model: model.classify(["a lovely book"]),
    "generative": lambda model: model.classify(["a lovely book"]),
    "forecast": lambda model: len(model.forecast(model.checkpoint.folder.parent / "table.csv")),
}


@pytest.mark.parametrize("kind", USES)
def test_a_used_model_is_copied_and_pickled(zoo: dict[str, Path], kind: str) -> None:
    model, use = seqgen.load(zoo[kind]), USES[kind]
    found = use(model)
    assert use(pickle.loads(pickle.dumps(model))) == use(copy.deepcopy(model)) == use(model) == found


def test_an_adapted_model_is_pickled_with_its_weights(zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo["text"])
    model.adapt(b"The kettle. " * 20)
    state = model.read("The ")
    again = pickle.loads(pickle.dumps(model))
    assert again.is_adapted and again.score("kettle", state=state) == model.score("kettle", state=state)


def test_a_primer_is_music(zoo: dict[str, Path]) -> None:
    model = seqgen.load(zoo["music"])
    first = model.compose(length=1)[0]
    pieces = [model.compose(primer, length=1, seed=1)[0].piece for primer in (first, first.piece)]
    assert pieces[0] == pieces[1]
    for wrong in (5, [first], model):
        with pytest.raises(UserError, match="a primer is a piece or the path of a file of music, not"):
            model.compose(wrong, length=1)  # type: ignore[arg-type]


def test_sources_are_declared_as_what_is_taken() -> None:
    """A type checker refused a path where one runs."""
    assert os.PathLike[str] in get_args(Sources)
    takers = (seqgen.train, seqgen.compare, plan, read, Model.forecast, Model.evaluate, Model.inspect)
    for function in takers:
        own = {name: hint for name, hint in function.__annotations__.items() if name in ("sources", "valid")}
        assert own and set(own.values()) == {"Sources"}


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
