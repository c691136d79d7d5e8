"""`seqgen compare`: models trained alike, and a comparison that goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

import seqgen
from seqgen import checkpoint
from seqgen.api.compare import _name, _variants, compare
from seqgen.api.train.watch import Watcher
from seqgen.errors import ModelError, UserError
from seqgen.model.weight_shapes import parameter_count
from tests.helpers.classifiers import made_up_reviews
from tests.helpers.running import Run, weight_bytes

FLAGS = ["--steps", "4", "--rnn-size", "12", "--batch-size", "4", "--seq-length", "16", "--threads", "1",
         "--precision", "fp32", "-q"]  # fmt: skip


def test_compare_trains_ordinary_models_alike(run: Run, text_file: Path, tmp_path: Path) -> None:
    arguments = ("compare", text_file, "-o", tmp_path / "c", *FLAGS, "--seeds", 2)
    found = run(*arguments, "--plot", tmp_path / "c.png", "--json").json
    assert [each["name"] for each in found["summary"]] == ["rnn", "gru", "lstm"]
    assert [each["name"] for each in found["runs"]] == ["rnn-1", "gru-1", "lstm-1", "rnn-2", "gru-2", "lstm-2"]
    for name in ("gru-1", "lstm-2"):
        model = seqgen.load(tmp_path / "c" / name)
        assert model.checkpoint.network.cell == name.partition("-")[0] and model.sample(length=3)
        assert "finished" not in model.checkpoint.config  # the held-out part measures: it isn't learnt
    run("train", text_file, "-o", tmp_path / "own", *FLAGS, "--cell", "gru", "--seed", 1, "--no-finish",
        *[word for name, value in found["common"].items() if value is not None
          for word in ([f"--{'' if value else 'no-'}{name.replace('_', '-')}"] if isinstance(value, bool)
                       else [f"--{name.replace('_', '-')}", value])])  # fmt: skip
    assert weight_bytes(tmp_path / "own") == weight_bytes(tmp_path / "c" / "gru-2")
    gru = next(each for each in found["summary"] if each["name"] == "gru")
    losses = [each["val_loss"] for each in found["runs"] if each["settings"]["cell"] == "gru"]
    assert gru["val_loss"] == pytest.approx(sum(losses) / 2) and gru["spread"] > 0
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    # The same command trains nothing again, and another one is refused.
    before = (tmp_path / "c" / "gru-1" / "model.safetensors").stat().st_mtime_ns
    head, *lines = run(*arguments).lines
    assert head.split() == ["parameters", "steps", "tokens/s", "time", "validation", "loss", "bits/char"]
    assert [line.split()[0] for line in lines] == ["rnn", "gru", "lstm"] and " ± " in lines[0]
    assert (tmp_path / "c" / "gru-1" / "model.safetensors").stat().st_mtime_ns == before
    assert "its seeds differ" in run(*arguments[:-1], 3, status=2).err


def test_compare_classifiers_of_all_seeds_hold_out_the_same_texts(tmp_path: Path) -> None:
    texts, targets = made_up_reviews(60)
    rows = [f"{'ab'[int(target)]}\t{text.decode()}\n" for text, target in zip(texts, targets[:, 1], strict=True)]
    (tmp_path / "texts.tsv").write_text("".join(rows))
    held: list[list[bytes]] = []

    def watch(name: str, number: int, count: int) -> contextlib.AbstractContextManager[Watcher]:
        return contextlib.nullcontext(Watcher(started=lambda training: held.append(list(training.data.held_texts))))

    options = {"task": "classify", "tokenizer": "byte", "steps": 1, "rnn_size": 4, "threads": 1, "precision": "fp32"}
    found = compare(str(tmp_path / "texts.tsv"), tmp_path / "c", cells=["rnn"], seeds=2, watch=watch, **options)
    assert [run.seed for run in found.runs] == [0, 1]
    assert len(held) == 2 and held[0] == held[1] and len(held[0]) == 6


def test_compare_goes_on_where_it_was_killed(text_file: Path, tmp_path: Path) -> None:
    options = {"steps": 4, "rnn_size": 12, "batch_size": 4, "seq_length": 16, "threads": 1, "precision": "fp32"}
    own = Path(shutil.copy(text_file, tmp_path / "own.txt"))
    whole = compare(str(own), tmp_path / "whole", cells=["gru", "rnn"], **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    saved = json.loads((tmp_path / "killed" / "compare.json").read_text())
    (tmp_path / "killed" / "compare.json").write_text(json.dumps({**saved, "finished": ["gru-1"]}))
    shutil.rmtree(tmp_path / "killed" / "rnn-1")
    shutil.copytree(tmp_path / "killed", tmp_path / "damaged")
    for change in ({"finished": 1}, {"common": "a"}, {"common": {"x": 1}}, {"by_variant": 3}, {"by_variant": [{}, "a"]},
                   {"task_found": ["text"]}, {"by_variant": [{}]}, {"seeds": 1.0}, {"seeds": True}):  # fmt: skip
        (tmp_path / "damaged" / "compare.json").write_text(json.dumps({**saved, **change}))
        said = "its seeds differ" if "seeds" in change else r"compare\.json' is damaged; name another folder"
        with pytest.raises(UserError, match=said):
            compare(str(own), tmp_path / "damaged", cells=["gru", "rnn"], **options)
    learnt = own.read_text()
    own.write_text(learnt.upper())
    with pytest.raises(UserError, match="the sources are not those that gru-1 was trained on"):
        compare(str(own), tmp_path / "killed", cells=["gru", "rnn"], **options)
    own.write_text(learnt)
    assert not (tmp_path / "killed" / "rnn-1").exists()
    again = compare(str(own), tmp_path / "killed", cells=["gru", "rnn"], **options)
    assert [run.val_loss for run in again.runs] == [run.val_loss for run in whole.runs]
    assert weight_bytes(tmp_path / "killed" / "rnn-1") == weight_bytes(tmp_path / "whole" / "rnn-1")


def test_compare_with_damaged_runs_is_one_error_or_leaves_numbers_out(text_file: Path, tmp_path: Path) -> None:
    options = {"steps": 2, "rnn_size": 8, "batch_size": 4, "seq_length": 16, "threads": 1, "precision": "fp32"}
    folder = tmp_path / "c"
    compare(str(text_file), folder, cells=["gru"], **options)
    whole = json.loads((folder / "gru-1" / "config.json").read_text())
    for change in ({"step": "x"}, {"seconds": None}, {"seconds": 10**400}, {"step": True}):
        damaged = {**whole, "training": {**whole["training"], **change}}
        (folder / "gru-1" / "config.json").write_text(json.dumps(damaged))
        with pytest.raises(ModelError, match="step or seconds is not a number"):
            compare(str(text_file), folder, cells=["gru"], **options)
    huge = {**whole, "metrics": {**whole["metrics"], "bits_per_character": 10**400}}
    (folder / "gru-1" / "config.json").write_text(json.dumps(huge))
    records = [{"step": 1, "val_loss": 10**400}, {"step": 2, "val_loss": 1.5, "tokens_per_second": "x"},
               {"step": 3, "val_loss": True, "tokens_per_second": 7}]  # fmt: skip
    (folder / "gru-1" / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (found,) = compare(str(text_file), folder, cells=["gru"], **options).summary
    assert (found.val_loss, found.tokens_per_second, found.headline) == (1.5, 7.0, None)


def test_compare_killed_before_or_while_it_replaced_another_goes_on(text_file: Path, tmp_path: Path, run: Run) -> None:
    """No run of the former comparison is taken for one of this."""
    folder, arguments = tmp_path / "c", ("compare", text_file, "-o", tmp_path / "c", "--cells", "gru", *FLAGS)
    folder.mkdir()
    (folder / ".compare.json.0123abcd.part").write_bytes(b"{")  # of a process that was killed at its first write
    run(*arguments)
    assert {path.name for path in folder.iterdir()} == {"compare.json", "gru-1"}
    (tmp_path / "mine").mkdir()
    (folder / "lstm-1").mkdir()  # not of this comparison
    saved = json.loads((folder / "compare.json").read_text())
    begun = {**saved, "finished": [], "former": ["gru-1", "lstm-1", "../mine"]}
    shutil.copytree(tmp_path / "c", tmp_path / "expected")
    run("train", text_file, "-o", folder / "gru-1", "--overwrite", *FLAGS, "--seed", 9)  # of the former one
    (folder / "compare.json").write_text(json.dumps(begun))
    run(*arguments)
    assert weight_bytes(folder / "gru-1") == weight_bytes(tmp_path / "expected" / "gru-1")
    assert (folder / "lstm-1").is_dir() and (tmp_path / "mine").is_dir()


def test_compare_names_settings_by_all_their_digits() -> None:
    variants = _variants([], "dropout=0.1,0.10000001,0.30000000000000004", {})
    assert [_name(variant) for variant in variants] == [
        "dropout=0.1", "dropout=0.10000001", "dropout=0.30000000000000004"
    ]  # fmt: skip


def test_compare_matches_parameters_and_sweeps_flags(text_file: Path, tmp_path: Path) -> None:
    options = {"steps": 2, "batch_size": 4, "seq_length": 16, "threads": 1, "embedding_size": 12, "precision": "fp32"}
    found = compare(str(text_file), tmp_path / "p", match="parameters", cells=["rnn", "lstm"], **options)
    sizes = [run.settings["rnn_size"] for run in found.runs]
    counts = [parameter_count(checkpoint.load(run.folder).network) for run in found.runs]
    assert sizes[0] > sizes[1] and counts[0] == pytest.approx(counts[1], rel=0.02)
    swept = compare(str(text_file), tmp_path / "s", sweep="hidden-size=8,12; dropout=0.3", cell="gru", **options)
    assert [run.name for run in swept.runs] == ["rnn-size=8,dropout=0.3-1", "rnn-size=12,dropout=0.3-1"]
    networks = [checkpoint.load(run.folder).network for run in swept.runs]
    assert [(n.cell, n.rnn_size, n.dropout) for n in networks] == [("gru", 8, 0.3), ("gru", 12, 0.3)]


def test_compare_of_other_tokens_says_that_their_losses_do_not_compare(
    run: Run, text_file: Path, tmp_path: Path
) -> None:
    arguments = ("compare", text_file, "-o", tmp_path / "c", *FLAGS, "--cell", "rnn", "--sweep", "tokenizer=char,byte")
    said = "The validation loss does not compare: their units differ with --tokenizer. Compare bits/char."
    *_, empty, last = run(*arguments).lines
    assert (empty, last) == ("", said)
    assert run(*arguments, "--json").json["incomparable"] == ["val_loss"]


@pytest.mark.parametrize(
    ("sweep", "incomparable", "said"),
    [
        (
            "scaling=standard,minmax",
            ["val_loss", "headline"],
            "validation loss and scaled MSE do not compare: their units differ with --scaling. Compare the models with "
            "`seqgen evaluate`.",
        ),
        ("rnn-size=3,4", [], ""),
    ],
)
def test_compare_says_which_numbers_have_units_of_their_own(
    sweep: str, incomparable: list[str], said: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["x", *(str(row % 7) for row in range(60))]) + "\n")
    flags = ["--horizon", 2, "--look-back", 10, "--steps", 1, "--members", 1, "--threads", 1, "-q", "--sweep", sweep]
    arguments = ("compare", tmp_path / "t.csv", "-o", tmp_path / "c", "--task", "forecast", "--cell", "gru", *flags)
    assert run(*arguments, "--json").json["incomparable"] == incomparable
    table, _, remark = run(*arguments).out.decode().partition("\n\n")
    assert len(table.splitlines()) == 3 and remark == (f"The {said}\n" if said else "")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cells", "lstm,transformer"], "cell must be one of lstm, gru, rnn; not 'transformer'"),
        (["--cells", "lstm", "--cell", "gru"], "--cell can't be used with --cells"),
        (["--cell", "gru"], "--cell needs --sweep: without one, the cells are compared"),
        (["--sweep", "rnn-sice=4"], "there is no flag --rnn-sice; did you mean 'rnn_size'?"),
        (["--sweep", "rnn-size=4,x"], "--sweep: --rnn-size must be int, not 'x'"),
        (["--sweep", "rnn-size=0"], "--rnn-size must be at least 1, not 0"),
        (["--sweep", "dropout"], "'dropout' has no values"),
        (["--sweep", "seed=1,2"], "--sweep can't compare --seed; --seeds does"),
        (["--sweep", "rnn-size=8;hidden-size=16"], "--sweep has --rnn-size twice: name it once, with all values"),
        (["--cells", "gru", "--sweep", "cell=lstm"], "--sweep cell=… can't be used with --cells"),
        (["--sweep", "encoding=utf 8,utf_8"], "--sweep: 'utf 8' and 'utf_8' would have the same folder"),
        (["--match", "size"], "--match must be one of units, parameters, time"),
        (["--match", "parameters", "--rnn-size", "9"], "leave --rnn-size out"),
        (["--match", "time", "--steps", "9"], "leave --steps and --epochs out"),
        (["--rnn-size", "-1"], "--rnn-size must be at least 1"),
    ],
)
def test_compare_of_what_makes_no_sense_is_refused(flags: list[str], said: str, run: Run, tmp_path: Path) -> None:
    result = run("compare", "tidewater", "-o", tmp_path / "c", *flags, status=2)
    assert said in result.err and not (tmp_path / "c").exists()


def test_compare_without_a_source_or_folder_is_refused(run: Run, tmp_path: Path) -> None:
    assert "-o DIR is missing" in run("compare", "tidewater", status=2).err
    assert "there is nothing to train on" in run("compare", "-o", tmp_path / "c", status=2).err
    assert "save standard input to a file" in run("compare", "-", "-o", tmp_path / "c", stdin=b"text", status=2).err
    with contextlib.chdir(tmp_path):
        assert "would hide the corpus" in run("compare", "tidewater", "-o", "tidewater", status=2).err
        assert "would hide the corpus" in run("train", "tidewater", "-o", "tidewater", status=2).err
    (tmp_path / "other").write_text("x")
    assert "has files that are no comparison" in run("compare", "tidewater", "-o", tmp_path, *FLAGS, status=2).err
