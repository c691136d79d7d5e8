"""Classification through the real command: a pipe, three formats, several labels, measures, going on, bad input."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api.evaluate import classification as evaluating
from seqgen.errors import ModelError
from tests.helpers.running import Run

TINY = ["--rnn-size", "16", "--batch-size", "16", "--threads", "1", "--precision", "fp32"]


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    chance = random.Random(seed)
    tell = {"好评": ["lovely", "great", "喜欢"], "差评": ["awful", "poor", "讨厌"]}
    fill = ["the", "book", "was", "a", "tram", "we", "took", "电影", "很"]
    made = []
    for number in range(count):
        label = list(tell)[number % 2]
        words = [chance.choice(fill) for _ in range(6)]
        words[chance.randrange(6)] = chance.choice(tell[label])
        made.append((" ".join(words) + f" {number}", label))
    return made


def table(folder: Path, count: int = 160, seed: int = 0, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text("".join(["text,label\n", *[f"{t},{l}\n" for t, l in rows(count, seed)]]), encoding="utf-8")  # noqa: E741
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("classify")
    seqgen.train(str(table(folder)), folder / "mood", steps=60, rnn_size=16, batch_size=16, threads=1, precision="fp32")
    yield folder / "mood"


def test_train_classify_task_is_guessed_and_saved(model: Path, run: Run) -> None:
    facts = run("info", model, "--json").json
    assert facts["task"] == "classify"
    assert facts["network"]["labels"] == ["好评", "差评"]
    assert facts["metrics"]["accuracy"] > 0.8
    page = run("info", model).out.decode()
    assert "144 texts to train on, 16 held out" in page
    assert "差评" in page
    assert "seqgen classify" in (model / "README.md").read_text(encoding="utf-8")


def test_classify_json_in_a_pipe_is_labelled_as_its_texts(model: Path, run: Run) -> None:
    texts = ["the book was lovely", "an awful tram"]
    lines = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts)).encode()
    plain = run("classify", model, "-", stdin="\n".join(texts).encode()).lines
    assert run("classify", model, "-", stdin=lines).lines == plain
    assert run("classify", model, "-", "--shard", "1/1", stdin=lines).lines == plain
    objects = [{"id": number, "text": text} for number, text in enumerate(texts)]
    for indent in (None, 2):  # an array in a pipe means what it means in a file
        array = json.dumps(objects, indent=indent).encode()
        assert run("classify", model, "-", stdin=array).lines == plain
        assert run("classify", model, "-", "--shard", "1/1", stdin=array).lines == plain
    assert len(run("classify", model, "-", stdin=b"[\nwords\n]").lines) == 3
    error = run("classify", model, stdin=array.replace(b'"text": "an', b'"txt": "an'), status=2).err
    assert error.startswith("seqgen: error: standard input:6: expected an object with 'text'")


def test_classify_explain_names_the_sentence_that_counts(model: Path, run: Run) -> None:
    lines = ["We took the tram. The book was lovely, great! It was a book.", "", "awful. poor. lovely"]
    data = "\n".join(lines).encode() + b"\n"
    found = run("classify", model, "-", "--explain", stdin=data).lines
    assert len(found) == 3
    assert found[0].split("\t")[2] == "The book was lovely, great!"
    assert [line.split("\t")[:2] for line in found] == [
        line.split("\t") for line in run("classify", model, "-", stdin=data).lines
    ]
    objects = [
        json.loads(line) for line in run("classify", model, "-", "--explain", "--format", "jsonl", stdin=data).lines
    ]
    for text, one in zip(lines, objects, strict=True):
        assert "".join(sentence["text"] for sentence in one["sentences"]) == text
    most = max(objects[0]["sentences"], key=lambda sentence: sentence["log_odds"])
    assert most["text"] == "The book was lovely, great! "
    assert objects[2]["label"] == "差评"
    assert objects[2]["sentences"][2]["log_odds"] < 0 < objects[2]["sentences"][0]["log_odds"]
    refused = run("classify", model, "-", "--explain", "--format", "fasttext", stdin=data, status=2)
    assert refused.out == b""
    assert "text or jsonl" in refused.err


def test_classify_gives_one_line_per_line(model: Path, run: Run) -> None:
    lines = [b"the book was lovely", b"", b"awful \xff\xfe", "讨厌".encode(), b"\r", b"   ", b"x" * 70_000, b"\0"]
    found = run("classify", model, "-", stdin=b"\n".join(lines)).lines
    assert len(found) == len(lines)
    for line in found:
        label, share = line.split("\t")
        assert label in ("好评", "差评")
        assert 0.5 <= float(share) <= 1
    assert found[0].startswith("好评")
    assert found[3].startswith("差评")
    assert found[1] == found[4] == found[5]  # nothing was said: the shares of training


def test_classify_line_alone_equals_line_in_a_batch(model: Path, run: Run, tmp_path: Path) -> None:
    texts = [text for text, _ in rows(50, 3)]
    together = run("classify", model, "-", stdin="\n".join(texts).encode()).lines
    assert together == [run("classify", model, "-", stdin=text.encode()).lines[0] for text in texts[:5]] + together[5:]
    (tmp_path / "a.txt").write_text("\n".join(texts[:20]) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(texts[20:]), encoding="utf-8")
    assert run("classify", model, tmp_path / "a.txt", tmp_path / "b.txt").lines == together


def test_classify_formats_and_options(model: Path, run: Run) -> None:
    stdin = "lovely great\n很\n".encode()
    both = run("classify", model, "-k", "2", stdin=stdin).lines
    assert [len(line.split("\t")) for line in both] == [4, 4]
    assert sum(float(share) for share in both[0].split("\t")[1::2]) == pytest.approx(1, abs=1e-3)
    objects = [json.loads(line) for line in run("classify", model, "--format", "jsonl", stdin=stdin).lines]
    assert objects[0]["label"] == "好评"
    assert objects[0]["labels"][0]["probability"] == objects[0]["probability"]
    assert run("classify", model, "--format", "fasttext", stdin=stdin).lines[0].startswith("__label__好评 ")
    unsure = run("classify", model, "--min-confidence", "1", stdin=stdin).lines
    assert unsure[1].startswith("unknown\t")


def test_classify_closed_pipe_ends_silently(model: Path) -> None:
    command = f"yes 'the book was lovely' | {sys.executable} -m seqgen classify {model} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120)
    assert done.stdout.decode().startswith("好评\t")
    assert done.stderr == b""


def test_evaluate_classify_metrics_and_calibration(model: Path, run: Run, tmp_path: Path) -> None:
    held = table(tmp_path, 60, seed=9)
    result = run("evaluate", model, held, "--json", "--errors", "3", "--plot", tmp_path / "c.png").json
    metrics = result["metrics"]
    assert (result["task"], result["records"]) == ("classify", 60)
    assert result["tokens"] > 60
    assert metrics["accuracy"] > 0.8
    assert set(metrics) >= {"macro_f1", "log_loss", "expected_calibration_error", "per_class", "confusion"}
    assert sum(map(sum, metrics["confusion"]["matrix"])) == 60
    assert set(metrics["per_class"]["好评"]) == {"precision", "recall", "f1", "support"}
    assert result["baselines"]["majority"]["accuracy"] == 0.5
    assert "tfidf_logistic" in result["baselines"]
    assert len(result["errors"]) <= 3
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    page = run("evaluate", model, held).out.decode()
    assert "precision" in page
    assert "true label / predicted" in page


def test_evaluate_with_damaged_shares_of_labels_has_no_baseline_by_them(model: Path, run: Run, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(model, tmp_path / "m"))
    config = json.loads((copied / "config.json").read_bytes())
    config["data"]["label_shares"] = dict.fromkeys(config["data"]["label_shares"], 1e308) | {"好评": -5.0}
    (copied / "config.json").write_text(json.dumps(config))
    done = run("evaluate", copied, table(tmp_path, 20, seed=9), "--json")
    assert done.json["baselines"] == {} and done.err == ""


def test_evaluate_classify_unknown_label_counts_as_an_error(model: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\nlovely great,好评\nwho knows,other\n", encoding="utf-8")
    done = run("evaluate", model, path, "--json", "--no-baselines")
    assert "1 label unknown to the model: other" in done.err
    assert done.json["metrics"]["accuracy"] == 0.5
    assert done.json["metrics"]["per_class"]["other"]["support"] == 1


def test_evaluate_classify_thousands_of_unknown_labels_are_refused(
    model: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of texts and labels took gigabytes for 200 kB."""
    rows = "lovely great,好评\n" + "".join(f"text {n},label {n}\n" for n in range(110))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    assert run("evaluate", model, tmp_path / "t.csv", "--json", "--no-baselines").json["records"] == 111
    monkeypatch.setattr(evaluating, "_MAX_PAIRS", 10_000)
    done = run("evaluate", model, tmp_path / "t.csv", "--json", "--no-baselines", status=2)
    assert "the model does not know 110 labels of the 111 texts; evaluate it on texts" in done.err


def test_classify_multi_label(run: Run, tmp_path: Path) -> None:
    chance = random.Random(0)
    lines = []
    for number in range(120):
        labels = [name for name, bit in (("sport", number & 1), ("music", number & 2)) if bit] or ["none"]
        words = [*labels, *(chance.choice(["so", "it", "is"]) for _ in range(4))]
        chance.shuffle(words)
        lines.append(" ".join(f"__label__{label}" for label in labels) + " " + " ".join(words))
    (tmp_path / "tags.txt").write_text("\n".join(lines), encoding="utf-8")
    run("train", tmp_path / "tags.txt", "-o", tmp_path / "m", "--steps", "60", *TINY, "--quiet")
    found = run("classify", tmp_path / "m", stdin=b"sport and music\nnone of it\n").lines
    assert set(found[0].split("\t")[::2]) == {"sport", "music"}
    assert found[1].startswith("none\t")
    result = run("evaluate", tmp_path / "m", tmp_path / "tags.txt", "--json").json
    assert result["metrics"]["accuracy"] > 0.8


def test_train_classify_same_seed_and_resume_are_exact(run: Run, tmp_path: Path) -> None:
    data = table(tmp_path)
    for name in ("a", "b"):
        run("train", data, "-o", tmp_path / name, "--steps", "12", *TINY, "--quiet")
    run("train", data, "-o", tmp_path / "half", "--steps", "12", "--quiet", *TINY)
    first = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert first == (tmp_path / "b" / "model.safetensors").read_bytes()
    told = checkpoint.read_resume(tmp_path / "half")[0]["carried.wide"]
    run("train", "-o", tmp_path / "half", "--resume", "--steps", "20", "--quiet")
    assert json.loads((tmp_path / "half" / "config.json").read_bytes())["training"]["step"] == 20
    # What the linear model said of the held-out texts before it learnt from them too.
    np.testing.assert_array_equal(checkpoint.read_resume(tmp_path / "half")[0]["carried.wide"], told)


def test_train_classify_pretrain(run: Run, tmp_path: Path) -> None:
    done = run("train", table(tmp_path), "-o", tmp_path / "m", "--steps", "20", "--pretrain", "0.5", *TINY)
    config = json.loads((tmp_path / "m" / "config.json").read_bytes())
    assert config["training"]["pretraining"]["steps"] == 10
    assert config["training"]["step"] == 10
    assert "held out" in done.err


def test_train_classify_init_from_a_text_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\n".join(text for text, _ in rows(200)), encoding="utf-8")
    words = tmp_path / "words.txt"
    run("train", words, "--task", "text", "-o", tmp_path / "text", "--steps", "5", *TINY, "--quiet")
    begun = ["--init-from", tmp_path / "text", "--batch-size", "16"]
    run("train", table(tmp_path), "--task", "classify", "-o", tmp_path / "m", "--steps", "20", "--quiet", *begun)
    facts = run("info", tmp_path / "m", "--json").json
    assert facts["network"]["rnn_size"] == 16
    assert facts["tokenizer"] == "char"
    assert len(run("classify", tmp_path / "m", stdin=b"lovely\n").lines) == 1


@pytest.mark.parametrize(
    "flags",
    [["--lowercase"], ["--balance"], ["--label-smoothing", "0.1"], ["--ngrams", "0"], ["--direction", "backward"],
     ["--tokenizer", "char"], ["--val-fraction", "0"]],
)  # fmt: skip
def test_train_classify_options_reach_the_model(run: Run, tmp_path: Path, flags: list[str]) -> None:
    run("train", table(tmp_path, 60), "-o", tmp_path / "m", "--steps", "4", *TINY, *flags, "--quiet")
    assert len(run("classify", tmp_path / "m", stdin=b"LOVELY\npoor\n").lines) == 2


@pytest.mark.parametrize("several", [False, True])
def test_classify_balance_text_without_content_has_equally_common_labels(tmp_path: Path, several: bool) -> None:
    kinds = [("poor" if number % 10 == 0 else "good", number) for number in range(60)]
    labelled = [{"text": f"it was {kind} {n}", "labels": [kind] if several else kind} for kind, n in kinds]
    if several:
        labelled += [{"text": "it was both", "labels": ["good", "poor"]}] * 2
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(each) + "\n" for each in labelled))
    options: dict[str, Any] = {"task": "classify", "label_column": "labels", "steps": 1, "rnn_size": 8, "threads": 1}
    shares = []
    for balance in (False, True):
        model = seqgen.train(str(tmp_path / "t.jsonl"), tmp_path / f"m{balance}", balance=balance, **options)
        shares.append(dict(model.classify([" "], top_k=2)[0].labels))
    assert shares[0]["good"] - shares[0]["poor"] > 0.7
    assert abs(shares[1]["good"] - shares[1]["poor"]) < 0.2


def test_classify_removes_stop_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("the\nlovely\n", encoding="utf-8")
    run("train", table(tmp_path, 60), "-o", tmp_path / "m", "--steps", "4", *TINY, "--quiet", "--stop-words",
        tmp_path / "stop.txt")  # fmt: skip
    found = run("classify", tmp_path / "m", stdin=b"book\nthe lovely book\n\nlovely\n").lines
    assert found[0].split("\t")[0] == found[1].split("\t")[0]
    assert found[2] == found[3]


BAD: list[tuple[list[Any], str]] = [
    (["classify", "MODEL", "--top-k", "0"], "--top-k"),
    (["classify", "MODEL", "--format", "xml"], "--format"),
    (["classify", "MODEL", "nowhere.txt"], "nowhere.txt"),
    (["classify", "MODEL", "JSON", "--format", "csv"], "x.jsonl' is no table; --format csv needs one"),
    (["sample", "MODEL"], "this model classifies but can't write"),
    (["score", "MODEL", "DATA"], "classify"),
    (["chat", "MODEL"], "classify"),
    (["train", "DATA", "-o", "new", "--label-column", "nothing"], "'nothing'"),
    (["train", "DATA", "-o", "new", "--stop-words", "nowhere.txt"], "cannot read 'nowhere.txt'"),
    (["train", "DATA", "-o", "new", "--tokenizer", "midi"], "--tokenizer"),
    (["train", "DATA", "-o", "new", "--task", "text", "--balance"], "--balance is for classify"),
    (["evaluate", "MODEL", "TEXT"], "has no text and label columns"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words[:4]) for words, _ in BAD])
def test_classify_bad_input_is_one_line(model: Path, run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "prose.txt").write_text("Once upon a time\n" * 20, encoding="utf-8")
    (tmp_path / "x.jsonl").write_text('{"text": "a", "n": 1}\n' * 9)  # its commas would make a table
    places = {"MODEL": model, "DATA": table(tmp_path), "TEXT": tmp_path / "prose.txt", "new": tmp_path / "new",
              "JSON": tmp_path / "x.jsonl"}  # fmt: skip
    done = run(*[places.get(word, word) for word in words], "--quiet", status=2)
    assert done.err.startswith("seqgen: error: ")
    assert done.err.count("\n") == 1
    assert message in done.err


def test_classify_text_model_is_an_error(text_model_folder: Path, run: Run) -> None:
    assert "a model for text" in run("classify", text_model_folder, stdin=b"x\n", status=2).err
    with pytest.raises(ModelError, match="a model for text"):
        seqgen.load(text_model_folder).classify(["x"])


@pytest.fixture(scope="module")
def text_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    (folder / "t.txt").write_text("abc abd abe " * 100, encoding="utf-8")
    seqgen.train(str(folder / "t.txt"), folder / "m", steps=2, rnn_size=8, threads=1, precision="fp32")
    return folder / "m"


def test_train_classify_init_from_unfreezes_lower_layers_last(run: Run, tmp_path: Path) -> None:
    data = table(tmp_path)
    (tmp_path / "talk.txt").write_text("the book was lovely and the tram was poor\n" * 60)
    run("train", tmp_path / "talk.txt", "-o", tmp_path / "text", "--steps", "5", "--tokenizer", "subword", *TINY)
    begin = ["--task", "classify", "--init-from", tmp_path / "text", "--direction", "forward", "--steps", "1"]
    old = seqgen.load(tmp_path / "text").checkpoint.weights()["layers.0.recurrent_weight"]
    for name, flags, same in (("late", [], True), ("at-once", ["--unfreeze", "0"], False)):
        run("train", data, "-o", tmp_path / name, *begin, *TINY[2:], *flags)
        assert json.loads((tmp_path / name / "config.json").read_text())["training"]["schedule"]["layer_decay"] == 2.6
        new = seqgen.load(tmp_path / name).checkpoint.weights()["readers.0.layers.0.recurrent_weight"]
        assert bool((new == old).all()) == same
