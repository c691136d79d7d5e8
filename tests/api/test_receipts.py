"""Receipts: samples can be reproduced byte for byte from their JSON; an invalid receipt is one line of error."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqgen
from seqgen.api import receipts
from seqgen.api.copies import save_copy_index
from seqgen.config import SampleOptions, SearchOptions, make_options
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.copies.text import TextCopyIndex
from seqgen.native import library
from seqgen.tokenizers.characters import CharCodec
from tests.helpers.midi_files import tune
from tests.helpers.random_models import Models, load_model
from tests.helpers.running import Command, Run
from tests.helpers.untrained import TEXT, untrained

STRANGE = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a copy index."""
    folder = untrained(tmp_path_factory.mktemp("keeper") / "model", CharCodec.fit([TEXT]), num_layers=2)
    save_copy_index(folder, TextCopyIndex.build([TEXT]), seqgen.load(folder).checkpoint.config)
    return folder


def test_model_whose_folder_is_trained_further_does_not_mix_weights(tmp_path: Path) -> None:
    folder, other = (untrained(tmp_path / name, CharCodec.fit([TEXT]), seed=seed) for seed, name in enumerate("mn"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rounding_bits_per_token": 0.0}))
    model = seqgen.load(folder)
    (before,) = model.sample("The", length=20)
    state = model.read("The")
    (folder / "new").write_bytes((other / "model.safetensors").read_bytes())
    (folder / "new").replace(folder / "model.safetensors")
    for use in (
        lambda: model.records("The", length=20),
        lambda: model.score("The"),
        lambda: model.save_state(state, tmp_path / "state"),
    ):
        with pytest.raises(ModelError, match="/m' was trained further or replaced since it was loaded; load it again"):
            use()
    assert model.sample("The", length=20) == [before]
    again = seqgen.load(folder)
    assert again.records("The", length=20)[0]["text"] != before.text
    assert again.score("The").nats


JOBS: list[list[Any]] = [
    [],
    ["-n", 3, "--first", 2, "--seed", 9, "-t", 0.8, "--top-k", 7, "--top-p", 0.9, "--stop", "e", "--stop", "\n"],
    ["--repetition-penalty", 1.4, "--repetition-window", 9, "--min-p", 0.01, "--typical-p", 0.9, "-p", "The old "],
    ["--prompt-file", "-"],
    ["--engine", "torch"],
    ["--engine", "torch", "--precision", "bf16", "-n", 2],
    ["--exact", "--stop-at-end"],
    ["--best-of", 3, "-n", 2],
    ["--beam", 4, "-n", 2],
    ["--context-cache", 40, "-n", 2, "--top-k", 9],
    ["--context-cache", 40, "--beam", 3],
    ["--max-copy", 5, "-t", 0.3],
    ["-l", 0],
    ["-l", 10**9, "--stop", "e", "-n", 3],
    ["-l", 5000, "--stop", "e", "--best-of", 2],
]


@pytest.mark.parametrize("flags", JOBS, ids=str)
def test_replay_gives_the_same_bytes(keeper: Path, run: Run, tmp_path: Path, flags: list[Any]) -> None:
    length = [] if "-l" in flags else ["-l", 60]
    printed = run("sample", keeper, "--json", *length, *flags, stdin=STRANGE)
    plain = run("sample", keeper, *length, *flags, stdin=STRANGE)
    (tmp_path / "r.jsonl").write_bytes(printed.out)
    assert run("sample", "--replay", tmp_path / "r.jsonl", "--json").out == printed.out
    assert run("sample", "--replay", "-", stdin=printed.out).out == plain.out
    last = printed.out.splitlines()[-1]
    assert run("sample", keeper, "--replay", "-", "--json", stdin=last).out == last + b"\n", "one alone"
    without = run("sample", keeper, *length, *flags, "--no-show-prompt", stdin=STRANGE)
    assert run("sample", "--replay", tmp_path / "r.jsonl", "--no-show-prompt").out == without.out


def test_receipt_records_provenance(keeper: Path, run: Run) -> None:
    (record,) = run("sample", keeper, "--json", "-l", 20, "-t", 0.5, "--top-k", 3, "--max-copy", 9).records
    receipt = record["receipt"]
    assert receipt["options"] == {"length": 20, "temperature": 0.5, "top_k": 3, "max_copy": 9}
    assert receipt["model"] == seqgen.load(keeper).checkpoint.fingerprint
    assert (receipt["seqgen"], receipt["folder"], receipt["engine"]) == (seqgen.__version__, str(keeper), "light")
    assert receipt["arithmetic"] == ("float32" if library() is not None else "numpy")
    assert record["longest_copy"] <= 9
    assert not {"prompt", "state", "label", "primer", "adaptive", "stop_at_end"} & set(receipt)


def test_receipts_from_python_are_those_of_the_command(
    keeper: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They had the absolute folder, wherever the model was named by another path."""
    monkeypatch.chdir(keeper.parent)
    records = run("sample", keeper.name, "--json", "-l", 20, "--seed", 3).records
    model = seqgen.load(keeper.name)
    assert records[0]["receipt"]["folder"] == keeper.name
    monkeypatch.chdir(tmp_path)
    assert model.records(length=20, seed=3) == records


def fits(cls: type, name: str, value: float) -> bool:
    try:
        make_options(cls, {name: value})
    except UserError:
        return False
    return True


def test_receipt_keeps_every_option(keeper: Path) -> None:
    """Every option, new ones too, is in the receipt if it differs from its default."""
    odd: dict[str, Any] = {}
    for cls in (SampleOptions, SearchOptions):
        for name, rule in cls.__dataclass_fields__.items():
            given = {"stop": ("x",), "seed": 5, "beam": 0, "max_copy": 4, "length": 3}.get(name)
            if given is None:
                if isinstance(rule.default, str | tuple | None):
                    continue
                given = next(value for value in (3, 2) if value != rule.default)
                if isinstance(rule.default, float):
                    given = next(value for value in (0.25, 1.25) if fits(cls, name, value) and value != rule.default)
            odd[name] = given
    model = load_model(keeper)
    (record,) = model.records("The ", **odd)
    parsed = receipts.parse(json.loads(json.dumps(record)))
    options = {name: value for name, value in odd.items() if name in SampleOptions.__dataclass_fields__}
    search = {name: value for name, value in odd.items() if name in SearchOptions.__dataclass_fields__}
    assert parsed.request.options == make_options(SampleOptions, options)
    assert parsed.request.search == make_options(SearchOptions, search)
    assert model.replay(record) == record


def test_replay_adaptive_sample(model_folder: Path, run: Run) -> None:
    printed = run("sample", model_folder, "--adaptive", "-p", "zyzzyva quokka " * 20, "-l", 50, "--json", "-n", 2).out
    assert run("sample", "--replay", "-", "--json", stdin=printed).out == printed
    assert (
        run("sample", model_folder, "-p", "zyzzyva quokka " * 20, "-l", 50, "--json").records[0]["text"]
        != (json.loads(printed.splitlines()[0])["text"])
    )


def test_replay_uses_the_rounding_of_the_receipt(model_folder: Path, run: Run) -> None:
    for flags, arithmetic in ([], "8 bits"), (["--exact"], "float32"):
        printed = run("sample", model_folder, "-l", 90, "--json", *flags)
        if library() is not None and seqgen.load(model_folder).info()["may_be_rounded"]:
            assert printed.records[0]["receipt"]["arithmetic"] == arithmetic
        assert run("sample", "--replay", "-", "--json", stdin=printed.out).out == printed.out


def test_replay_sample_from_a_state(models: Models, run: Run, tmp_path: Path) -> None:
    model, state = models("subword"), tmp_path / "s"
    run("sample", model, "-l", 33, "--state-out", state, "--seed", 3)
    printed = run("sample", model, "--state-in", state, "-l", 20, "-n", 3, "-p", "And ", "--json").out
    assert run("sample", "--replay", "-", "--json", stdin=printed).out == printed
    shutil.move(state, tmp_path / "elsewhere")
    assert "s" in run("sample", "--replay", "-", stdin=printed, status=2).err
    assert run("sample", "--replay", "-", "--state-in", tmp_path / "elsewhere", "--json", stdin=printed).out == printed
    run("sample", model, "-l", 34, "--state-out", state, "--seed", 3)
    assert "is not the receipt's state" in run("sample", "--replay", "-", stdin=printed, status=2).err
    plain = run("sample", model, "-l", 5, "--json").out
    assert "names no state" in run("sample", "--replay", "-", "--state-in", state, stdin=plain, status=2).err


def test_replay_dialogue_and_labelled_samples(models: Models, run: Run) -> None:
    for folder, flags in (
        (models("dialogue", "dialogue"), ["-p", "Hello"]),
        (models("labelled", "classify", labels=("sun", "moon")), ["--label", "moon", "-p", "The"]),
    ):
        printed = run("sample", folder, *flags, "-l", 60, "-n", 2, "--json").out
        assert run("sample", "--replay", "-", "--json", stdin=printed).out == printed
        assert run("sample", "--replay", "-", stdin=printed).out == run("sample", folder, *flags, "-l", 60, "-n", 2).out


def test_replay_music(models: Models, run: Run, tmp_path: Path) -> None:
    model, primer, state = models("midi", "music"), tmp_path / "p.mid", tmp_path / "s"
    primer.write_bytes(tune(1))
    run("sample", model, "-l", 2, "--state-out", state, "--json")
    for flags in (
        [],
        ["--primer", primer, "--key", "D dorian", "--tempo", 99, "--instrument", "violin"],
        ["-n", 3, "--first", 1, "--stop-at-end", "--best-of", 2],
        ["--state-in", state],
    ):
        printed = run("sample", model, "-l", 3, "--json", *flags).out
        assert run("sample", "--replay", "-", "--json", stdin=printed).out == printed
        folder = tmp_path / f"out{len(flags)}"
        if "-n" in flags:
            run("sample", "--replay", "-", "-o", folder, stdin=printed)
            assert sorted(path.name for path in folder.iterdir()) == ["1.mid", "2.mid", "3.mid"]
        else:
            assert run("sample", "--replay", "-", stdin=printed).out == run("sample", model, "-l", 3, *flags).out


def test_replay_many_samples_in_batches(keeper: Path, run: Run) -> None:
    printed = run("sample", keeper, "--json", "-l", 15, "-n", 40).out
    other = run("sample", keeper, "--json", "-l", 15, "-n", 2, "--seed", 4).out
    lines = [*printed.splitlines(), *other.splitlines()][::-1]
    assert run("sample", "--replay", "-", "--json", stdin=printed + b"\n" + other).out == printed + other
    assert run("sample", "--replay", "-", "--json", stdin=b"\n".join(lines)).out == b"\n".join(lines) + b"\n"
    found = list(receipts.read([line + b"\n" for line in printed.splitlines()], "r"))
    assert [len(job) for job in receipts.jobs(found)] == [40]


def test_replay_in_another_process_gives_the_same_bytes(keeper: Path, run: Run, seqgen_command: Command) -> None:
    printed = run("sample", keeper, "--json", "-l", 80, "-n", 2).out
    done = seqgen_command("sample", "--replay", "-", "--json", stdin=printed)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


# ---- Invalid receipts ----


@pytest.fixture(scope="module")
def record(keeper: Path) -> dict[str, Any]:
    (found,) = load_model(keeper).records("The ", length=30)
    return found


def edited(record: dict[str, Any], *path: str, value: Any = None) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


def without(*path: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: edited(record, *path)


def other(*path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: edited(record, *path, value=value)


def several(fields: dict[str, Any], **options: Any) -> Callable[[dict[str, Any]], Any]:
    """Change fields of the record, and options of its receipt."""

    def change(record: dict[str, Any]) -> dict[str, Any]:
        changed = {**record, **fields}
        return {**changed, "receipt": {**record["receipt"], "options": {**record["receipt"]["options"], **options}}}

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no object": (lambda record: [1], "there is no receipt"),
    "no receipt": (without("receipt"), "there is no receipt"),
    "no seed": (without("seed"), "it has no 'seed'"),
    "no index": (without("index"), "it has no 'index'"),
    "no model": (without("receipt", "model"), "it has no 'model'"),
    "no options": (without("receipt", "options"), "it has no 'options'"),
    "index": (other("index", value=-1), "wrong type"),
    "folder": (other("receipt", "folder", value=3), "wrong type"),
    "options": (other("receipt", "options", value=[1]), "damaged"),
    "option": (other("receipt", "options", "colour", value=1), "there is no option 'colour'"),
    "type": (other("receipt", "options", "length", value="a"), "length"),
    "bounds": (other("receipt", "options", "top_p", value=2.5), "--top-p"),
    "length": (other("receipt", "options", "length", value=10**6), "its length is 1,000,000"),
    "length after a stop": (several({"finish_reason": "stop"}, length=10**9), "cannot reproduce sample"),
    "length of candidates": (several({"finish_reason": "stop"}, length=10**9, best_of=2), "its length is 1,000,000,"),
    "bars of a text": (several({"bars": 1e300}, length=10**9), "its length is 1,000,000,000, but the sample's is 30"),
    "beam": (several({"index": 9}, beam=4), "--beam 4 finds at most that many texts, not 10"),
    "music": (several({}, key="D dorian"), "--key is for music"),
    "tempo": (several({}, tempo=90.0), "--tempo is for music"),
    "text of another type": (other("text", value=7), "wrong type"),
    "temperature": (other("receipt", "options", "temperature", value=10**400), "temperature can't be"),
    "prompt": (other("receipt", "prompt", value=7), "damaged"),
    "label": (other("receipt", "label", value=7), "wrong type"),
    "state": (other("receipt", "state", value={"file": 3, "sha256": "x"}), "wrong type"),
    "primer": (other("receipt", "primer", value="%%%"), "damaged"),
    "other model": (other("receipt", "model", value="0" * 32), "belongs to another model"),
    "text": (other("text", value="Call me Ishmael. Some years ago"), "cannot reproduce sample"),
    "probability": (other("log_probability", value=-1.5), "cannot reproduce sample"),
    "seed": (other("seed", value=8), "cannot reproduce sample"),
    "arithmetic": (lambda record: edited(edited(record, "seed", value=8), "receipt", "arithmetic", value="abacus"),
                   "its arithmetic was abacus, here it is"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_replay_invalid_receipt_is_one_error_line(record: dict[str, Any], run: Run, what: str) -> None:
    change, words = WRONG[what]
    lines = json.dumps(record).encode() + b"\n" + json.dumps(change(record)).encode() + b"\n"
    result = run("sample", "--replay", "-", "--json", stdin=lines, status=2)
    assert words in result.err and "line 2" in result.err and result.err.count("\n") == 1
    with pytest.raises((DataError, ModelError), match="the record"):
        load_model(Path(record["receipt"]["folder"])).replay(change(record))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (several({"bars": 10**9}, length=10**9), "can't be replayed beyond 100,000 bars"),
        (several({"bars": 1e300}, length=10**9), "wrong type"),
        (several({"finish_reason": "end"}, length=10**9), "cannot reproduce sample"),
        (several({}, beam=4), "--beam is for"),
        (other("receipt", "adaptive", value=True), "--adaptive is for text"),
        (other("receipt", "label", value="sun"), "--label is for text"),
        (other("receipt", "prompt", value="Once"), "--prompt is for text"),
    ],
)
def test_replay_invalid_receipt_of_music_is_one_error_line(
    models: Models, run: Run, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    (record,) = run("sample", models("midi", "music"), "-l", 2, "--json").records
    result = run("sample", "--replay", "-", "--json", stdin=json.dumps(change(record)).encode(), status=2)
    assert words in result.err and "line 1" in result.err and result.err.count("\n") == 1


def test_replay_of_more_texts_than_a_beam_finds_is_one_error_line(keeper: Path, run: Run) -> None:
    first = run("sample", keeper, "--json", "-l", 0, "--beam", 4).records[0]
    lines = b"\n".join(json.dumps({**first, "index": index}).encode() for index in range(4))
    result = run("sample", "--replay", "-", stdin=lines, status=2)
    assert "line 2: cannot reproduce sample 1: --beam finds fewer texts" in result.err


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "has no receipt"), (b"\n\n", "has no receipt"), (b"{", "not JSON"), (b"\xff", "not JSON"),
     (b"[" * 100_000, "not JSON"), (b"Call me Ishmael.", "line 1")],
)  # fmt: skip
def test_replay_other_input_is_one_error_line(run: Run, data: bytes, words: str) -> None:
    result = run("sample", "--replay", "-", stdin=data, status=2)
    assert words in result.err and result.err.count("\n") == 1


def test_replay_refuses_flags_that_the_receipt_has(record: dict[str, Any], run: Run) -> None:
    line = json.dumps(record).encode()
    for flags in (["-t", 0.5], ["-p", "x"], ["-n", 2], ["--first", 1], ["--beam", 2], ["--exact"], ["--label", "a"]):
        assert (
            "--replay takes all settings from the receipt"
            in run("sample", "--replay", "-", *flags, stdin=line, status=2).err
        )
    moved = edited(record, "receipt", "folder", value="nowhere")
    assert "no model 'nowhere'" in run("sample", "--replay", "-", stdin=json.dumps(moved).encode(), status=2).err
    assert "missing.jsonl" in run("sample", "--replay", "missing.jsonl", status=2).err
    assert "MODEL is missing" in run("sample", status=2).err


def test_replay_does_not_fetch_the_model_that_a_receipt_names(record: dict[str, Any], keeper: Path, run: Run) -> None:
    line = json.dumps(edited(record, "receipt", "folder", value="hf:someone/else")).encode()
    assert "names a model on the hub; name it as MODEL" in run("sample", "--replay", "-", stdin=line, status=2).err
    (found,) = run("sample", keeper, "--replay", "-", "--json", stdin=line).records
    assert found["text"] == record["text"]


def test_replay_moved_model_may_be_named(record: dict[str, Any], keeper: Path, run: Run, tmp_path: Path) -> None:
    moved = shutil.copytree(keeper, tmp_path / "moved")
    found = run("sample", moved, "--replay", "-", "--json", stdin=json.dumps(record).encode()).records
    assert found == [edited(record, "receipt", "folder", value=str(moved))]
