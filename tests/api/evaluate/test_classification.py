"""Evaluation of classifiers: which texts are measured, the mistakes that are shown, what the baseline has learnt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.evaluation.baselines import tfidf
from tests.conftest import MadeOnce

TINY: dict[str, Any] = {
    "task": "classify", "tokenizer": "byte", "rnn_size": 4, "embedding_size": 4, "precision": "fp32", "threads": 1,
    "steps": 1, "seed": 3, "ngrams": 1, "pretrain": 0.0,
}  # fmt: skip
WORDS = {"a": "red green", "b": "blue yellow", "c": "black white"}


def write(path: Path, texts: list[tuple[str, list[str]]]) -> Path:
    lines = [json.dumps({"text": text, "label": labels[0] if len(labels) == 1 else labels}) for text, labels in texts]
    path.write_text("\n".join(lines) + "\n")
    return path


def texts_of(*sets: str, each: int = 10) -> list[tuple[str, list[str]]]:
    """Texts made of the words of their labels: of each set of labels `each`."""
    return [(f"{' '.join(WORDS[label] for label in labels)} {number}", list(labels))
            for number in range(each) for labels in sets]  # fmt: skip


@pytest.fixture(scope="module")
def one_label(made_once: MadeOnce) -> Path:
    """A folder with a model whose texts have one label each, and the table that it learnt."""

    def make(folder: Path) -> None:
        seqgen.train(str(write(folder / "train.jsonl", texts_of("a", "b"))), folder / "m", **TINY)

    return made_once("evaluate-one-label", make)


@pytest.fixture(scope="module")
def several_labels(made_once: MadeOnce) -> Path:
    def make(folder: Path) -> None:
        seqgen.train(str(write(folder / "train.jsonl", texts_of("a", "b", "c", "bc"))), folder / "m", **TINY)

    return made_once("evaluate-several-labels", make) / "m"


def test_evaluate_texts_of_several_labels_are_skipped_and_reported_by_a_model_of_one(
    one_label: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They don't turn the measures of all others into those of several labels a text."""
    monkeypatch.setattr(tfidf, "is_available", lambda: False)
    model, texts = seqgen.load(one_label / "m"), texts_of("a", "b", each=3)
    expected = model.evaluate(str(write(tmp_path / "a.jsonl", texts)), errors=9)
    others = [("red blue", ["a", "b"]), ("blue red", ["b", "a"])]
    said: list[str] = []
    found = model.evaluate(str(write(tmp_path / "b.jsonl", texts + others)), errors=9, warn=said.append)
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert said == ["skipped 2 of 8 texts, which have several labels: the model gives each text one"]
    with pytest.raises(seqgen.DataError, match="no labelled text"):
        model.evaluate(str(write(tmp_path / "c.jsonl", others)))


def test_evaluate_reports_no_label_that_only_skipped_texts_have(one_label: Path, tmp_path: Path) -> None:
    """They had rows of zeros, and counted for the limit of unknown labels."""
    model = seqgen.load(one_label / "m")
    texts = [("red blue", ["odd", "a"]), ("red", ["a"]), ("blue", ["new"]), ("green", ["odd", "strange"])]
    found = model.evaluate(str(write(tmp_path / "a.jsonl", texts)), baselines=False, errors=9)
    assert found["metrics"]["confusion"]["labels"] == ["a", "b", "new"]
    assert np.sum(found["metrics"]["confusion"]["matrix"], axis=1).tolist() == [1, 0, 1]
    assert ["new"] in [each["label"] for each in found["errors"]]


OTHERS = [
    (
        "author,comment,verdict\nA person,red green,a\nA person,blue yellow,b\n",
        "text' and 'label",
        "author, comment, verdict",
    ),
    ("text,stars\nred green,a\nblue yellow,b\n", "label", "text, stars"),
    ('{"text": "red green", "stars": "a"}\n{"text": "blue yellow", "stars": "b"}\n', "label", "text, stars"),
]


@pytest.mark.parametrize(("data", "missing", "columns"), OTHERS)
def test_evaluate_a_table_without_the_columns_of_the_model_is_refused(
    data: str, missing: str, columns: str, one_label: Path, tmp_path: Path
) -> None:
    """As `classify` refuses it: other columns were measured without a word."""
    (tmp_path / "t.csv").write_text(data)
    said: list[str] = []
    with pytest.raises(seqgen.DataError, match=f"'{missing}', which the model was trained on; .*{columns}; rename"):
        seqgen.load(one_label / "m").evaluate(str(tmp_path / "t.csv"), warn=said.append)
    assert said == []


def test_evaluate_a_table_whose_names_differ_in_capitals_is_read(one_label: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Text,LABEL\nred green,a\nblue yellow,b\n")
    (tmp_path / "t.jsonl").write_text('{"TEXT": "red green", "Label": "a"}\n')
    sources = [str(tmp_path / "t.csv"), str(tmp_path / "t.jsonl")]
    assert seqgen.load(one_label / "m").evaluate(sources, baselines=False)["records"] == 3


def test_evaluate_a_model_of_different_columns_requires_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"red {n},a\nblue {n},b\n" for n in range(9)))
    rows = [json.dumps({"content": f"{word} {n}", "class": label})
            for n in range(9) for word, label in (("pink", "a"), ("teal", "b"))]  # fmt: skip
    (tmp_path / "b.jsonl").write_text("\n".join(rows))
    seqgen.train([str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")], tmp_path / "m", **TINY)
    for names in ("text,label", "content,class"):
        (tmp_path / "t.csv").write_text(f"{names}\nred green,a\nblue yellow,b\n")
        found = seqgen.load(tmp_path / "m").evaluate(str(tmp_path / "t.csv"), baselines=False)
        assert found["records"] == 2


@pytest.mark.parametrize(
    "files",
    [
        {"t.csv": "red green one,a\nblue yellow two,b\nred three,a\n"},
        {"t.txt": "a\tred green one\nb\tblue yellow two\na\tred three\n"},
        {"t.txt": "__label__a red green one\n__label__b blue yellow two\n__label__a red three\n"},
        {"a/1.txt": "red green one", "b/1.txt": "blue yellow two", "a/2.txt": "red three"},
    ],
)
def test_evaluate_texts_without_names_of_columns_are_read(
    files: dict[str, str], one_label: Path, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    assert seqgen.load(one_label / "m").evaluate(str(tmp_path / "in"), baselines=False)["records"] == 3


def test_evaluate_names_no_flag_for_columns_that_it_lacks(tmp_path: Path) -> None:
    """`train` advises --text-column and --label-column there."""
    rows = "".join(f"red green of a day {n},a,x,pink and teal words {n}\n" * 2 for n in range(4))
    (tmp_path / "t.csv").write_text("first,second,third,fourth\n" + rows + rows.replace(",a,x", ",b,y"))
    advice: list[str] = []
    options = {**TINY, "text_column": "first"}
    model = seqgen.train(str(tmp_path / "t.csv"), tmp_path / "m", **options, watch=Watcher(warn=advice.append))
    assert sum("with --" in each for each in advice) == 2
    said: list[str] = []
    model.evaluate(str(tmp_path / "t.csv"), baselines=False, warn=said.append)
    assert any("'fourth' has text and is not used" in each for each in said) and "-column" not in "".join(said)


def test_evaluate_sources_of_the_training_have_the_columns_that_it_found(one_label: Path, tmp_path: Path) -> None:
    """Each of several may have its own, also beside other documents; older models have the names of the last."""
    folder = Path(shutil.copytree(one_label / "m", tmp_path / "m"))
    config = json.loads((folder / "config.json").read_bytes())
    config["data"]["columns"] = {"text": ["review"], "label": ["stars"]}
    (folder / "config.json").write_text(json.dumps(config))
    other = tmp_path / "t.csv"
    other.write_text("review,stars\nred green,a\nblue yellow,b\n")
    model = seqgen.load(folder)
    assert model.evaluate(str(one_label / "train.jsonl"), baselines=False)["records"] == 20
    assert model.evaluate(str(other))["records"] == 2  # the baseline learns the training sources
    several = [str(other), str(one_label / "train.jsonl")]
    assert model.evaluate(several, baselines=False)["records"] == 22
    (tmp_path / "u.csv").write_text("text,label\nred green,a\nblue yellow,b\n")
    with pytest.raises(seqgen.DataError, match=r"u.csv has no column 'review' and 'stars'"):
        model.evaluate([*several, str(tmp_path / "u.csv")])


def test_evaluate_texts_without_a_label_of_the_model_is_refused_in_one_line(one_label: Path, tmp_path: Path) -> None:
    """All measures were those of mistakes, and those of the baselines too."""
    model, said = seqgen.load(one_label / "m"), list[str]()
    for texts in ([("red", ["1"]), ("blue", ["2"])], [("red", ["1"]), ("blue", ["a", "b"])]):
        source = str(write(tmp_path / "t.jsonl", texts))
        with pytest.raises(
            seqgen.DataError, match=r"^no text has a label of the model, a, b; those of the texts are 1"
        ):
            model.evaluate(source, warn=said.append)
    assert said == []


def test_evaluate_errors_of_several_labels_show_what_is_wrong(several_labels: Path, tmp_path: Path) -> None:
    """All labels that were given, and the probability of the wrong or missing one."""
    texts = [("black white 3", ["b", "c"]), ("red green 3", ["b"]), ("black white 4", ["c"])]
    model = seqgen.load(several_labels)
    errors = model.evaluate(str(write(tmp_path / "a.jsonl", texts)), errors=9, baselines=False)["errors"]
    assert errors
    for error in errors:
        own = dict(model.classify([error["text"]], top_k=3)[0].labels)
        assert error["given"] == [label for label in "abc" if own[label] > 0.5] != error["label"]
        wrong = [1 - own[label] if label in error["label"] else own[label] for label in "abc"]
        assert error["probability"] == pytest.approx(max(wrong))
    probabilities = [error["probability"] for error in errors]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(("finish", "learnt"), [(True, 20), (False, 18)])
def test_evaluate_tfidf_learns_what_the_model_has_learnt(
    finish: bool, learnt: int, one_label: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the held-out texts, or without them."""
    counts: list[int] = []

    def count(train: list[str], targets: Any, test: list[str], multi: bool) -> Any:
        counts.append(len(train))
        return targets[: len(test)].astype(float)

    monkeypatch.setattr(tfidf, "fit_predict_proba", count)
    monkeypatch.setattr(tfidf, "is_available", lambda: True)
    folder = one_label / "m"
    if not finish:
        folder = tmp_path / "m"
        seqgen.train(str(one_label / "train.jsonl"), folder, finish=False, **TINY)
    other = write(tmp_path / "a.jsonl", texts_of("a", "b", each=3))
    assert "tfidf_logistic" in seqgen.load(folder).evaluate(str(other))["baselines"]
    assert counts == [learnt]
    said: list[str] = []
    seqgen.load(folder).evaluate(str(one_label / "train.jsonl"), baselines=False, warn=said.append)
    assert ("held-out part" in said[0]) != finish
