"""`--unlabelled`: further texts that a classifier's pretraining reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen.api.train.watch import Watcher
from seqgen.errors import DataError, UserError
from seqgen.training.loop import Event, Stepped
from tests.helpers.classifiers import made_up_reviews
from tests.helpers.training import Killed, kill_after, saved_weights

OPTIONS: dict[str, Any] = {
    "task": "classify", "tokenizer": "byte", "rnn_size": 8, "embedding_size": 8, "precision": "fp32", "threads": 1,
    "steps": 8, "ngrams": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts, targets = made_up_reviews(40)
    path = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    rows = [
        {"text": text.decode(), "label": "bad" if bad else "good"}
        for text, bad in zip(texts, targets[:, 0], strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def further(folder: Path) -> list[str]:
    """Seven texts as lines, JSON lines with other keys too, a table, and a folder."""
    (folder / "lines.txt").write_text("a first text\n\na second, with ünusual letters\n")
    (folder / "rows.jsonl").write_text('{"id": 3, "text": "a third"}\n{"id": 4, "text": "a fourth", "label": "good"}\n')
    (folder / "table.csv").write_text('text,stars\n"a fifth, quoted",3\n,2\n')
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / "more" / "6.txt").write_text("a sixth")
    (folder / "more" / "deep" / "7.txt.gz").write_bytes(gzip.compress(b"a seventh\n"))
    return [str(folder / name) for name in ("lines.txt", "rows.jsonl", "table.csv", "more")]


def test_train_unlabelled_texts_are_read_in_pretraining_only(reviews: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    events: list[Event] = []
    seqgen.train(
        str(reviews), tmp_path / "m", unlabelled=tuple(further(tmp_path)),
        watch=Watcher(started=seen.append, event=events.append), **OPTIONS,
    )  # fmt: skip
    (training,) = seen
    data = training.data
    assert len(data.train) == 36 and len(data.pretraining_ids) == 43
    texts = {
        bytes(data.codec.pieces()[token] for token in data.pretraining_ids.text(number)) for number in range(36, 43)
    }
    assert texts == {
        b"a first text", "a second, with ünusual letters".encode(), b"a third", b"a fourth", b"a fifth, quoted",
        b"a sixth", b"a seventh",
    }  # fmt: skip
    held = {bytes(data.held_out.text(number)) for number in range(4)}
    assert not held & {bytes(data.pretraining_ids.text(number)) for number in range(43)}
    assert training.pretraining is not None
    steps = [event.pretrains for event in events if isinstance(event, Stepped)]
    assert steps == sorted(steps, reverse=True) and len(steps) == 8 and len(set(steps)) == 2, "which, is said"
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert len(config["data"]["unlabelled_sources"]) == 5
    assert config["data"]["unlabelled_texts"] == 7
    assert config["data"]["train_texts"] == 36


def test_resume_unlabelled_members_start_from_the_pretrained_weights(reviews: Path, tmp_path: Path) -> None:
    options = {**OPTIONS, "unlabelled": tuple(further(tmp_path)), "members": 2}
    seqgen.train(str(reviews), tmp_path / "whole", **options)
    with pytest.raises(Killed):
        seqgen.train(str(reviews), tmp_path / "m", watch=kill_after(14), **options)
    assert not any(name.startswith("member") for name in saved_weights(tmp_path / "m"))
    seqgen.train(str(reviews), tmp_path / "m", resume=True)
    assert saved_weights(tmp_path / "m") == saved_weights(tmp_path / "whole")
    (tmp_path / "lines.txt").write_text("other texts\n")
    with pytest.raises(UserError, match="not those that the run began with"):
        seqgen.train(str(reviews), tmp_path / "m", resume=True, members=3)


def test_train_unlabelled_bad_sources_raise(reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "keys.jsonl").write_text('{"text": "one"}\n{"body": "two"}\n')
    for source, message in (("blank.txt", "no text"), ("keys.jsonl", "keys.jsonl:2"), ("missing.txt", "missing.txt")):
        with pytest.raises((DataError, UserError), match=message):
            seqgen.train(str(reviews), tmp_path / "m", unlabelled=(str(tmp_path / source),), **OPTIONS)
    with pytest.raises(UserError, match="--pretrain 0"):
        seqgen.train(str(reviews), tmp_path / "m", unlabelled=(str(reviews),), **OPTIONS, pretrain=0.0)
    with pytest.raises(UserError, match="--unlabelled"):
        seqgen.train(str(reviews), tmp_path / "m", task="text", unlabelled=(str(reviews),), steps=1)
    assert not (tmp_path / "m").exists()


def test_train_unlabelled_with_valid(reviews: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    seqgen.train(
        str(reviews), tmp_path / "m", valid=str(reviews), unlabelled=(str(reviews),),
        watch=Watcher(started=seen.append), **OPTIONS,
    )  # fmt: skip
    data = seen[0].data
    assert (len(data.train), len(data.held_out), len(data.pretraining_ids)) == (40, 40, 80)
    np.testing.assert_array_equal(data.pretraining_ids.text(0), data.pretraining_ids.text(40))


def test_train_many_unlabelled_texts_make_the_linear_model_better(tmp_path: Path) -> None:
    """Ten labelled texts have few of the words of a kind; a thousand without labels say which belong together."""
    random = np.random.default_rng(0)

    def text(kind: int) -> str:
        return " ".join([f"{'ab'[kind]}{n}" for n in random.integers(60, size=6)] + [f"c{random.integers(50)}"])

    rows = [{"text": text(number % 2), "label": "ab"[number % 2]} for number in range(12)]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "further.txt").write_text("".join(text(number % 2) + "\n" for number in range(600)))
    tests, correct = [text(number % 2).encode() for number in range(100)], []
    for further in ((), (str(tmp_path / "further.txt"),)):
        options = {**OPTIONS, "steps": 2, "unlabelled": further}
        model = seqgen.train(str(tmp_path / "labelled.jsonl"), tmp_path / f"m{len(further)}", **options)
        correct.append(sum(one.label == "ab"[number % 2] for number, one in enumerate(model.classify(tests))))
    assert correct[1] >= 90
    assert correct[1] > correct[0] + 5


def test_train_unlabelled_reads_the_columns_of_the_labelled_table_by_name(tmp_path: Path) -> None:
    """A column that was given by its number was that number in the other table too."""
    labelled, more = tmp_path / "labelled.csv", tmp_path / "more.csv"
    labelled.write_text("id,text,label\n" + "".join(f"{n},so it was {n},{'ab'[n % 2]}\n" for n in range(20)))
    more.write_text("text,source\n" + "".join(f"further {n},site{n}\n" for n in range(9)))
    seen: list[Any] = []
    seqgen.train(
        str(labelled), tmp_path / "m", text_column="2", label_column="3", unlabelled=(str(more),),
        watch=Watcher(started=seen.append), **{**OPTIONS, "steps": 1},
    )  # fmt: skip
    data = seen[0].data
    texts = {bytes(data.codec.pieces()[token] for token in data.pretraining_ids.text(n)) for n in range(18, 27)}
    assert texts == {f"further {n}".encode() for n in range(9)}
