"""The commands, as a person or a script meets them: what they read, what they write, and how they end."""

from __future__ import annotations

import gzip
import json
import math
import os
import selectors
import subprocess
import sys
from pathlib import Path

import pytest

import seqgen
from tests.helpers.running import Command, Result, Run, prose

# A training that ends in a moment: what is learnt does not matter here.
TINY = ["--rnn-size", "16", "--steps", "3", "--threads", "1", "--precision", "fp32"]
COMMANDS = ("train", "sample", "score", "evaluate", "info", "tokenize", "corpora")
STRANGE = "灯塔 🏮 café\t".encode() + b"\xff\xfe\x80 \xe4\xb8"  # other scripts, and bytes that are no UTF-8


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6)


def weights(model: Path) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in seqgen.load(model).checkpoint.weights().items()}


# ---- train: every way to give a text ----


@pytest.fixture(scope="session")
def two_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two short texts, and other things that people have in folders."""
    folder = tmp_path_factory.mktemp("sources") / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text(prose(200, seed=2))
    (folder / "more" / "b.txt").write_text(prose(200, seed=3))
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / ".hidden").write_text("a secret")
    return folder


def test_training_says_nothing_on_stdout_and_plain_lines_in_a_pipe(
    seqgen_command: Command, text_file: Path, tmp_path: Path
) -> None:
    done = seqgen_command("train", text_file, "-o", tmp_path / "model", *TINY, TERM="xterm-256color")
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines
    assert all(line.startswith("seqgen: ") for line in lines)
    assert "3 steps" in lines[-1]
    assert seqgen.load(tmp_path / "model").info()["data"]["sources"][0]["name"] == str(text_file)


def test_a_bare_pipe_is_read(seqgen_command: Command, text_file: Path, tmp_path: Path) -> None:
    """Quiet, too: not a word on stderr."""
    done = seqgen_command("train", "-o", tmp_path / "model", *TINY, "--quiet", stdin=text_file.read_bytes())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_one_text_gives_one_model_however_it_comes(run: Run, text_file: Path, tmp_path: Path) -> None:
    """From a file, by its full or relative name, through a pipe, or compressed: the same bytes learn the same."""
    text = text_file.read_bytes()
    packed = tmp_path / "packed.txt.gz"
    packed.write_bytes(gzip.compress(text))
    run("train", text_file, "-o", tmp_path / "file", *TINY)
    run("train", "-", "-o", tmp_path / "dash", *TINY, stdin=text)
    run("train", "-o", tmp_path / "bare", *TINY, stdin=text)
    run("train", packed, "-o", tmp_path / "packed", *TINY)
    models = [weights(tmp_path / name) for name in ("file", "dash", "bare", "packed")]
    assert models[1:] == models[:-1]


def test_two_texts_give_one_model_however_they_are_named(
    run: Run, two_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as a folder (walked, sorted, what is no text or hidden left out), or by a glob."""
    run("train", two_files / "a.txt", two_files / "more" / "b.txt", "-o", tmp_path / "files", *TINY)
    folder = run("train", two_files, "-o", tmp_path / "folder", *TINY)
    run("train", two_files / "**" / "*.txt", "-o", tmp_path / "glob", *TINY)
    monkeypatch.chdir(two_files)
    run("train", "a.txt", "more/*.txt", "-o", tmp_path / "mixed", *TINY)
    models = [weights(tmp_path / name) for name in ("files", "folder", "glob", "mixed")]
    assert models[1:] == models[:-1]
    assert "1 file passed over" in folder.err
    assert [source["name"] for source in seqgen.load(tmp_path / "folder").info()["data"]["sources"]] == [
        str(two_files / "a.txt"), str(two_files / "more" / "b.txt"),
    ]  # fmt: skip


def test_a_pipe_among_files(run: Run, two_files: Path, tmp_path: Path) -> None:
    second = (two_files / "more" / "b.txt").read_bytes()
    run("train", two_files / "a.txt", "-", "-o", tmp_path / "model", *TINY, stdin=second)
    sources = seqgen.load(tmp_path / "model").info()["data"]["sources"]
    assert [source["bytes"] for source in sources] == [(two_files / "a.txt").stat().st_size, len(second)]


def test_what_is_held_out_can_be_named(run: Run, two_files: Path, tmp_path: Path) -> None:
    run("train", two_files / "a.txt", "--valid", two_files / "more" / "b.txt", "-o", tmp_path / "model", *TINY)
    data = seqgen.load(tmp_path / "model").info()["data"]
    assert data["held_out_bytes"] == (two_files / "more" / "b.txt").stat().st_size
    assert data["train_bytes"] == (two_files / "a.txt").stat().st_size


def test_overwriting_and_going_on(run: Run, text_file: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    run("train", text_file, "-o", model, *TINY)
    run("train", text_file, "-o", model, *TINY, "--overwrite", "--seed", 7)
    assert seqgen.load(model).info()["training"]["options"]["seed"] == 7
    run("train", "-o", model, "--resume", "--steps", 5, "--threads", 1)
    assert seqgen.load(model).info()["training"]["step"] == 5


def test_a_model_can_start_from_another(run: Run, model_folder: Path, two_files: Path, tmp_path: Path) -> None:
    run("train", two_files, "--init-from", model_folder, "-o", tmp_path / "model", *TINY[2:], "--quiet")
    assert seqgen.load(tmp_path / "model").info()["network"]["rnn_size"] == 32


# ---- sample ----


def test_exactly_so_many_characters(seqgen_command: Command, model_folder: Path) -> None:
    done = seqgen_command("sample", model_folder, "--length", 200)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.decode("utf-8", "surrogateescape")) == 200
    assert seqgen_command("sample", model_folder, "--length", 200).stdout == done.stdout


@pytest.mark.parametrize("length", [0, 1, 77])
def test_the_prompt_is_repeated_byte_for_byte_and_not_counted(
    run: Run, model_folder: Path, tmp_path: Path, length: int
) -> None:
    prompt = tmp_path / "prompt"
    prompt.write_bytes(STRANGE)
    shown = run("sample", model_folder, "--prompt-file", prompt, "--length", length).out
    assert shown.startswith(STRANGE)
    text = run("sample", model_folder, "--prompt-file", prompt, "--length", length, "--no-show-prompt").out
    assert shown == STRANGE + text
    assert len(text.decode("utf-8", "surrogateescape")) == length


def test_a_prompt_can_come_through_a_pipe_or_compressed(run: Run, model_folder: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.gz"
    prompt.write_bytes(gzip.compress(STRANGE))
    piped = run("sample", model_folder, "--prompt-file", "-", "--length", 30, stdin=STRANGE).out
    assert piped.startswith(STRANGE)
    assert run("sample", model_folder, "--prompt-file", prompt, "--length", 30).out == piped


def test_a_prompt_on_the_command_line_may_hold_any_bytes(seqgen_command: Command, model_folder: Path) -> None:
    done = seqgen_command("sample", model_folder, "--prompt", os.fsdecode(STRANGE), "--length", 3)
    assert done.stdout.startswith(STRANGE)


@pytest.mark.parametrize("alias", ["--primetext", "--start", "--prefix", "-p"])
def test_a_prompt_has_the_names_that_people_know(run: Run, model_folder: Path, alias: str) -> None:
    expected = run("sample", model_folder, "--prompt", "the boy ", "--length", 20).out
    assert expected.startswith(b"the boy ")
    assert run("sample", model_folder, alias, "the boy ", "--length", 20).out == expected


def test_short_names(run: Run, model_folder: Path) -> None:
    long = run("sample", model_folder, "--temperature", 0.5, "--length", 40, "--num-samples", 2, "--output", "-").out
    assert run("sample", model_folder, "-t", 0.5, "-l", 40, "-n", 2, "-o", "-").out == long


def test_the_prompt_has_an_effect(run: Run, model_folder: Path) -> None:
    texts = {run("sample", model_folder, "-p", p, "-l", 60, "--no-show-prompt").out for p in ("the ", "q", "\n", "")}
    assert len(texts) > 1


def test_a_seed_is_a_text(run: Run, model_folder: Path) -> None:
    one = run("sample", model_folder, "--seed", 1).text
    assert len(one) == 500, "so many characters when nothing is said"
    assert run("sample", model_folder, "--seed", 1).text == one
    assert run("sample", model_folder, "--seed", 2).text != one


@pytest.mark.parametrize("engine", ["light", "torch"])
def test_a_sample_is_the_same_alone_and_among_many(run: Run, model_folder: Path, engine: str) -> None:
    how = ["--json", "--length", 60, "--seed", 5, "--prompt", "the ", "--engine", engine]
    five = run("sample", model_folder, *how, "-n", 5).records
    assert [record["index"] for record in five] == [0, 1, 2, 3, 4]
    assert len({record["text"] for record in five}) == 5
    (alone,) = run("sample", model_folder, *how, "-n", 1, "--first", 3).records
    assert alone == five[3]
    assert run("sample", model_folder, *how, "-n", 2, "--first", 2).records == five[2:4]


def test_json_says_all_about_a_sample(run: Run, model_folder: Path) -> None:
    result = run("sample", model_folder, "--json", "-n", 2, "--length", 30, "--prompt", "灯 ", "--seed", 9)
    assert result.out.count(b"\n") == 2
    for index, record in enumerate(result.records):
        assert list(record) == [
            "index", "seed", "prompt", "text", "tokens", "log_probability", "finish_reason", "receipt",
        ]  # fmt: skip
        assert (record["index"], record["seed"], record["prompt"]) == (index, 9, "灯 ")
        assert len(record["text"]) == 30
        assert record["tokens"] >= 30
        assert record["log_probability"] < 0
        assert record["finish_reason"] == "length"
    plain = run("sample", model_folder, "--length", 30, "--prompt", "灯 ", "--seed", 9).text
    assert plain == "灯 " + result.records[0]["text"]


def test_bytes_that_are_no_characters_are_valid_json(run: Run, model_folder: Path) -> None:
    (record,) = run("sample", model_folder, "--json", "--prompt-file", "-", "--length", 5, stdin=STRANGE).records
    assert record["prompt"].encode("utf-8", "surrogateescape") == STRANGE


def test_several_samples_stand_apart(run: Run, model_folder: Path) -> None:
    texts = [record["text"] for record in run("sample", model_folder, "--json", "-n", 3, "--length", 40).records]
    together = run("sample", model_folder, "-n", 3, "--length", 40, "--prompt", "").text
    assert together == "\n\n".join(texts) + "\n"


def test_a_stop_string_ends_the_text_before_itself(run: Run, model_folder: Path) -> None:
    whole = run("sample", model_folder, "--length", 300, "-t", 0.5).text
    stop, other = whole[100:104], whole[60:63]
    (record,) = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", stop, "--json").records
    assert record["text"] == whole[: whole.index(stop)]
    assert record["finish_reason"] == "stop"
    both = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", stop, "--stop", other).text
    assert both == whole[: min(whole.index(stop), whole.index(other))]
    never = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", "never to be written").text
    assert never == whole


def test_a_stop_string_of_other_characters(run: Run, model_folder: Path) -> None:
    """Nothing in the prompt stops the text: it is what comes after it that counts."""
    text = run("sample", model_folder, "--prompt", "。", "--stop", "。", "--length", 20, "--no-show-prompt").text
    assert len(text) == 20


GREEDY = [
    ["--temperature", 0], ["--top-k", 1], ["--top-p", 1e-9], ["--min-p", 1], ["-t", 0, "--top-k", 5, "--top-p", 0.5],
]  # fmt: skip


@pytest.mark.parametrize("flags", GREEDY, ids=str)
def test_the_narrowest_filters_leave_the_likeliest(run: Run, model_folder: Path, flags: list[object]) -> None:
    """Whatever the seed is."""
    greedy = run("sample", model_folder, "--length", 60, "-t", 0).out
    assert run("sample", model_folder, "--length", 60, "--seed", 3, *flags).out == greedy


@pytest.mark.parametrize(
    "flags",
    [
        ["--temperature", 1], ["--top-k", 0], ["--top-k", 1 << 40], ["--top-p", 1], ["--min-p", 0],
        ["--typical-p", 1], ["--repetition-penalty", 1], ["--repetition-window", 3], ["--dry-multiplier", 0],
        ["--dry-base", 3, "--dry-breaker", "x"], ["--dynatemp-range", 0], ["--dynatemp-exponent", 3],
        ["--xtc-probability", 0], ["--xtc-threshold", 0.01], ["--mirostat-tau", 100], ["--mirostat-eta", 1],
        ["--logit-bias", "e=0"], ["--ban", "zzzz"],
    ],
    ids=str,
)  # fmt: skip
def test_the_widest_filters_change_nothing(run: Run, model_folder: Path, flags: list[object]) -> None:
    free = run("sample", model_folder, "--length", 120).out
    assert run("sample", model_folder, "--length", 120, *flags).out == free


@pytest.mark.parametrize(
    "flags",
    [
        ["--temperature", 0.5], ["--temperature", 2], ["--top-k", 3], ["--top-p", 0.5], ["--min-p", 0.3],
        ["--typical-p", 0.3], ["--repetition-penalty", 3], ["--repetition-penalty", 3, "--repetition-window", 2],
        ["--dry-multiplier", 2], ["--dry-multiplier", 2, "--dry-breaker", " "], ["--dynatemp-range", 0.9],
        ["--xtc-probability", 0.5], ["--mirostat-tau", 1], ["--logit-bias", "e=-5"], ["--ban", "e"],
        ["--grammar", "[a-z ]{200}"],
    ],
    ids=str,
)  # fmt: skip
def test_every_filter_has_an_effect(run: Run, model_folder: Path, flags: list[object]) -> None:
    free = run("sample", model_folder, "--length", 200).out
    filtered = run("sample", model_folder, "--length", 200, *flags)
    assert filtered.out != free
    assert len(filtered.text) == 200
    assert run("sample", model_folder, "--length", 200, *flags) == filtered


@pytest.mark.parametrize("command", ["sample", "score", "evaluate", "tokenize"])
def test_data_goes_to_a_file_as_it_would_to_stdout(
    run: Run, model_folder: Path, two_files: Path, tmp_path: Path, command: str
) -> None:
    sources = [] if command == "sample" else [two_files / "a.txt"]
    flags = ["--no-rivals"] if command == "evaluate" else []
    shown = run(command, model_folder, *sources, *flags).out
    filed = run(command, model_folder, *sources, *flags, "-o", tmp_path / "new" / "out")
    assert filed.out == b""
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    kept = (tmp_path / "new" / "out").read_bytes()
    if command == "evaluate":  # its first line tells how long it took
        shown, kept = shown.partition(b"\n")[2], kept.partition(b"\n")[2]
    assert kept == shown


# ---- score ----


def test_a_score_for_each_document(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("score", model_folder, two_files)
    assert [record["name"] for record in result.records] == [
        str(two_files / "a.txt"), str(two_files / "more" / "b.txt"),
    ]  # fmt: skip
    for record in result.records:
        size = Path(record["name"]).stat().st_size
        assert list(record) == ["name", "tokens", "nats", "bits_per_byte"]
        assert record["tokens"] == size
        assert close(record["bits_per_byte"], record["nats"] / math.log(2) / size)


def test_a_score_is_the_same_by_a_pipe(run: Run, seqgen_command: Command, model_folder: Path, two_files: Path) -> None:
    text = (two_files / "a.txt").read_bytes()
    (filed,) = run("score", model_folder, two_files / "a.txt").records
    for arguments in ([], ["-"]):
        (piped,) = run("score", model_folder, *arguments, stdin=text).records
        assert piped == {**filed, "name": "-"}
    done = seqgen_command("score", model_folder, stdin=text)  # and by a real one
    assert (done.returncode, done.stderr) == (0, b"")
    assert close(json.loads(done.stdout)["nats"], filed["nats"])


@pytest.mark.parametrize("text", [b"one line", b"one\ntwo\n", b"\n\n", b"a\n\nb", b"cr\r\nlf\r\n", STRANGE + b"\n!"])
def test_a_score_for_each_line(run: Run, model_folder: Path, text: bytes) -> None:
    """As many lines out as in, the empty ones too; together they are the document."""
    lines = text.splitlines(keepends=True)
    result = run("score", model_folder, "--lines", stdin=text)
    assert [record["name"] for record in result.records] == [f"-:{number}" for number in range(1, len(lines) + 1)]
    for line, record in zip(lines, result.records, strict=True):
        assert close(record["bits_per_byte"], record["nats"] / math.log(2) / len(line))
    (whole,) = run("score", model_folder, stdin=text).records
    assert sum(record["tokens"] for record in result.records) == whole["tokens"]
    assert math.isclose(sum(record["nats"] for record in result.records), whole["nats"], rel_tol=1e-4)


def test_no_lines_in_no_lines_out(run: Run, model_folder: Path) -> None:
    assert run("score", model_folder, "--lines", stdin=b"") == Result(0, b"", "")


@pytest.mark.parametrize("flags", [[], ["--lines"]], ids=["document", "lines"])
def test_the_tokens_sum_to_the_record(run: Run, model_folder: Path, flags: list[str]) -> None:
    text = b"the old lamp\nthe \xe7\x81\xaf boat\n"
    for record in run("score", model_folder, "--per-token", *flags, stdin=text).records:
        assert set(record) == {"name", "tokens", "nats", "bits_per_byte", "per_token"}
        assert len(record["per_token"]) == record["tokens"]
        assert close(sum(nats for _, nats in record["per_token"]), record["nats"])
    pieces = [piece for r in run("score", model_folder, "--per-token", stdin=b"the boy").records
              for piece, _ in r["per_token"]]  # fmt: skip
    assert "".join(pieces) == "the boy"


def test_a_strange_line_costs_more(run: Run, model_folder: Path) -> None:
    usual, strange = run("score", model_folder, "--lines", stdin=b"the boat came home\nzqxj vwkq pfgz xx\n").records
    assert strange["bits_per_byte"] > usual["bits_per_byte"]


def test_the_first_score_comes_before_the_last_line(model_folder: Path) -> None:
    """Someone who follows a log reads along: `tail -f app.log | seqgen score logs --lines`."""
    with subprocess.Popen(
        [sys.executable, "-m", "seqgen", "score", str(model_folder), "--lines"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"the old lamp\n")
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            came = bool(waiting.select(timeout=20))
        process.stdin.write(b"was lit\n")
        process.stdin.close()
        assert process.stdout.read().count(b"\n") == 2
        assert process.wait(60) == 0
    assert came, "no score for a line that was there for 20 seconds"


# ---- evaluate ----


def test_an_evaluation_keeps_the_contract(run: Run, model_folder: Path, two_files: Path) -> None:
    text = (two_files / "a.txt").read_bytes()
    result = run("evaluate", model_folder, two_files / "a.txt", "--json").json
    assert set(result) == {"task", "records", "tokens", "characters", "bytes", "seconds", "metrics", "baselines"}
    assert (result["task"], result["records"]) == ("text", 1)
    assert result["tokens"] == result["characters"] == result["bytes"] == len(text)
    metrics = result["metrics"]
    assert set(metrics) == {
        "nats_per_character", "bits_per_character", "bits_per_byte", "perplexity_per_token", "perplexity_per_word",
    }  # fmt: skip
    assert close(metrics["bits_per_character"] * math.log(2), metrics["nats_per_character"])
    assert close(metrics["bits_per_byte"], metrics["bits_per_character"]), "every character is one byte here"
    assert close(math.log(metrics["perplexity_per_token"]), metrics["nats_per_character"]), "and one token"
    nats = metrics["nats_per_character"] * (len(text) - 1)  # every character but the first
    assert close(math.log(metrics["perplexity_per_word"]), nats / len(text.split()))
    xz = result["baselines"]["xz"]
    assert set(metrics) - {"perplexity_per_token"} <= set(xz)
    assert close(xz["bits_per_character"] * math.log(2), xz["nats_per_character"])
    assert close(xz["bits_per_byte"] * len(text) / 8, round(xz["bits_per_byte"] * len(text) / 8)), "whole bytes"


def test_an_evaluation_agrees_with_the_score(run: Run, model_folder: Path, two_files: Path) -> None:
    """But for the first character, which the one leaves out and the other counts."""
    text = (two_files / "a.txt").read_bytes()
    metrics = run("evaluate", model_folder, "-", "--json", "--no-rivals", stdin=text).json["metrics"]
    (score,) = run("score", model_folder, "--per-token", stdin=text).records
    assert math.isclose(
        metrics["nats_per_character"] * (len(text) - 1), score["nats"] - score["per_token"][0][1], rel_tol=1e-5
    )


def test_an_evaluation_is_the_same_by_a_pipe(
    run: Run, seqgen_command: Command, model_folder: Path, two_files: Path
) -> None:
    source = two_files / "a.txt"
    filed = run("evaluate", model_folder, source, "--json").json
    piped = run("evaluate", model_folder, "--json", stdin=source.read_bytes()).json
    really_piped = json.loads(seqgen_command("evaluate", model_folder, "-", "--json", stdin=source.read_bytes()).stdout)
    for result in (filed, piped, really_piped):
        result.pop("seconds")
    assert piped == filed
    assert really_piped["baselines"] == filed["baselines"]
    assert really_piped["metrics"] == pytest.approx(filed["metrics"], rel=1e-6)


def test_records_are_summed(run: Run, model_folder: Path, two_files: Path) -> None:
    parts = [run("evaluate", model_folder, path, "--json", "--no-rivals").json for path in two_files.rglob("*.txt")]
    whole = run("evaluate", model_folder, two_files, "--json", "--no-rivals", "--quiet").json
    assert whole["records"] == 2
    assert whole["baselines"] == {}
    for count in ("tokens", "characters", "bytes"):
        assert whole[count] == sum(part[count] for part in parts)
    nats = sum(part["metrics"]["nats_per_character"] * (part["characters"] - 1) for part in parts)
    assert close(whole["metrics"]["nats_per_character"], nats / (whole["characters"] - 2))


def test_a_table_for_people(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("evaluate", model_folder, two_files / "a.txt")
    table = result.out.decode()
    for words in ("1 record,", "this model", "xz", "bits_per_byte", "perplexity_per_word"):
        assert words in table
    assert result.err == ""


def test_a_model_is_told_from_which_it_learnt(run: Run, model_folder: Path, text_file: Path) -> None:
    """An evaluation on the training text is no evaluation, and says so; unless it is to be quiet."""
    assert "was trained on" in run("evaluate", model_folder, text_file, "--no-rivals").err
    assert run("evaluate", model_folder, text_file, "--no-rivals", "--quiet").err == ""


# ---- info, tokenize ----


def test_info(run: Run, model_folder: Path, text_file: Path) -> None:
    page = run("info", model_folder).out.decode()
    for words in ("LSTM of 32 units", "char", str(text_file), "bits_per_character", f"seqgen {seqgen.__version__}"):
        assert words in page
    facts = run("info", model_folder, "--json").json
    config = json.loads((model_folder / "config.json").read_text())
    assert {name: facts[name] for name in config} == config
    assert facts["weights_bytes"] == (model_folder / "model.safetensors").stat().st_size
    assert facts["parameters"] * 4 < facts["weights_bytes"] < facts["parameters"] * 4 + 10_000


@pytest.mark.parametrize("kind", ["MODEL", "char", "byte", "subword"])
def test_ids_and_pieces_are_the_text(run: Run, model_folder: Path, tmp_path: Path, kind: str) -> None:
    text = prose(60).encode() + STRANGE + b"\r\n\0"
    source = tmp_path / "text"
    source.write_bytes(text)
    which = model_folder if kind == "MODEL" else kind
    lines = run("tokenize", which, source).out.decode().splitlines()
    assert len(lines) == 1, "a line a document"
    ids = [int(word) for word in lines[0].split(" ")]
    pieces = [json.loads(line) for line in run("tokenize", which, source, "--pieces").out.splitlines()]
    assert len(pieces) == len(ids)
    assert b"".join(piece.encode("utf-8", "surrogateescape") for piece in pieces) == text
    assert "every byte came back" in run("tokenize", which, source, "--check").out.decode()
    if kind == "MODEL":
        from seqgen.tokenizers import decode

        assert decode(seqgen.load(model_folder).codec, ids) == text
    if kind == "byte":
        assert bytes(ids) == text


def test_documents_are_tokenized_apart(run: Run, model_folder: Path, two_files: Path) -> None:
    result = run("tokenize", model_folder, two_files / "a.txt", two_files / "more" / "b.txt", "-", stdin=b"the end")
    first, second, third = result.out.splitlines()
    assert run("tokenize", model_folder, stdin=b"the end").out == third + b"\n"
    assert run("tokenize", model_folder, two_files / "more" / "b.txt").out == second + b"\n"
    assert len(first.split()) == (two_files / "a.txt").stat().st_size


def test_the_size_of_a_subword_vocabulary(run: Run, text_file: Path) -> None:
    said = run("tokenize", "subword", text_file, "--vocab-size", 320, "--check").out.decode()
    assert "tokens of 3" in said
    many, few = (
        len(run("tokenize", "subword", text_file, "--vocab-size", size).out.split()) for size in (300, 400)
    )  # fmt: skip
    assert few < many


# ---- corpora ----


def test_the_catalogue_can_be_read_by_a_person_and_a_program(run: Run) -> None:
    table = run("corpora").out.decode()
    entries = run("corpora", "--json").json
    assert [line.split()[0] for line in table.splitlines()[1:]] == [entry["name"] for entry in entries]


# ---- Habits of every command ----


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet(run: Run, command: str) -> None:
    assert "--quiet" in run(command, "--help").out.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    assert run(command, "-h").out == run(command, "--help").out
    assert run(command, "-h").out.startswith(b"Usage: seqgen " + command.encode())


def test_without_a_word_the_program_explains_itself(seqgen_command: Command) -> None:
    done = seqgen_command()
    assert (done.returncode, done.stderr) == (0, b"")
    for command in COMMANDS:
        assert f"  {command} ".encode() in done.stdout


def test_the_version(seqgen_command: Command) -> None:
    done = seqgen_command("--version")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"seqgen {seqgen.__version__}\n", b"")


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["sample", "MODEL", "-n", "100000", "--length", "20"], None),
        (["sample", "MODEL", "--length", "100000000"], None),
        (["score", "MODEL", "--lines"], b"the old lamp\n" * 3000),
        (["tokenize", "byte", "TEXT", "--pieces"], None),
        (["info", "MODEL", "--json"], None),
        (["corpora", "--json"], None),
        (["--help"], None),
        (["train", "--help"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_reader_that_goes_away_ends_it_silently(
    arguments: list[str], stdin: bytes | None, model_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    """`| head -1`: status 0, and not a word."""
    places = {"MODEL": str(model_folder), "TEXT": str(text_file)}
    given = tmp_path / "stdin"
    given.write_bytes(stdin or b"")
    with (
        given.open("rb") as source,
        subprocess.Popen(
            [sys.executable, "-m", "seqgen", *(places.get(word, word) for word in arguments)],
            stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_reader_that_was_never_there(model_folder: Path) -> None:
    """The write that fails may be the very first, or the flush at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["--version"], ["info", str(model_folder)]):
        done = subprocess.run(
            [sys.executable, "-m", "seqgen", *arguments], stdout=writing, stderr=subprocess.PIPE, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(writing)


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line for the shell, in which `$SEQGEN` is the command."""
    return subprocess.run(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "SEQGEN": f"{sys.executable} -m seqgen", "OMP_NUM_THREADS": "1", **environment},
        timeout=120,
    )


def test_closed_streams(model_folder: Path, tmp_path: Path) -> None:
    """A cron job or a daemon may start a program without any of the three."""
    sample = f"$SEQGEN sample {model_folder} --length 30"
    plain = shell(sample)
    assert (plain.returncode, plain.stderr) == (0, b"")
    assert shell(f"{sample} <&-").stdout == plain.stdout
    assert shell(f"{sample} 2>&-").stdout == plain.stdout

    closed = shell(f"{sample} >&-")
    assert closed.returncode == 2
    assert closed.stderr.startswith(b"seqgen: error: standard output is closed")
    assert closed.stderr.count(b"\n") == 1

    nothing = shell(f"$SEQGEN score {model_folder} <&-")
    assert nothing.returncode == 2
    assert nothing.stderr.count(b"\n") == 1

    to_a_file = shell(f"{sample} -o {tmp_path / 'out'} <&- >&- 2>&-")
    assert to_a_file.returncode == 0
    assert (tmp_path / "out").read_bytes() == plain.stdout


def test_training_needs_none_of_the_three_streams(text_file: Path, tmp_path: Path) -> None:
    """And what is written goes nowhere but into the model: not into a file that took a stream's number."""
    before = text_file.read_bytes()
    done = shell(f"$SEQGEN train {text_file} -o {tmp_path / 'model'} {' '.join(TINY)} <&- >&- 2>&-")
    assert done.returncode == 0
    assert text_file.read_bytes() == before
    seqgen.load(tmp_path / "model").checkpoint.weights()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("command", ["sample MODEL", "info MODEL", "--help"])
def test_a_full_disk_behind_stdout_is_no_fault_of_the_program(model_folder: Path, command: str) -> None:
    done = shell(f"$SEQGEN {command.replace('MODEL', str(model_folder))} > /dev/full")
    assert done.stderr.startswith(b"seqgen: error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"fault of seqgen" not in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}], ids=str)
def test_colour_never_gets_into_a_pipe(run: Run, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       environment: dict[str, str]) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for arguments in (["--help"], ["train", text_file, "-o", tmp_path / "model", *TINY], ["info", tmp_path / "model"]):
        result = run(*arguments)
        assert b"\x1b" not in result.out
        assert "\x1b" not in result.err


def test_a_locale_that_knows_only_ascii(seqgen_command: Command, model_folder: Path) -> None:
    """Data is bytes: what a terminal could show changes nothing."""
    here = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = seqgen_command("sample", model_folder, "--prompt-file", "-", "-l", 9, stdin=STRANGE, **here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(STRANGE)
    page = seqgen_command("info", model_folder, **here)  # it holds a ×
    assert (page.returncode, page.stderr) == (0, b"")
    told = seqgen_command("train", "灯塔.txt", "-o", "new", **here)
    assert told.returncode == 2
    assert told.stderr.count(b"\n") == 1


# ---- Python ----


def test_python_gives_what_the_commands_give(run: Run, model_folder: Path, two_files: Path) -> None:
    model = seqgen.load(model_folder)
    source = two_files / "a.txt"
    text = source.read_bytes()

    shown = run(
        "sample", model_folder, "--json", "-n", 3, "--prompt", "the ", "-l", 40, "-t", 0.8, "--top-k", 9
    ).records
    samples = model.sample("the ", n=3, length=40, temperature=0.8, top_k=9)
    assert [vars(sample) for sample in samples] == [
        {key: value for key, value in record.items() if key != "receipt"} for record in shown
    ]
    assert model.records("the ", n=3, length=40, temperature=0.8, top_k=9) == shown
    assert "".join(model.stream("the ", length=40, temperature=0.8, top_k=9)) == samples[0].text

    (score,) = run("score", model_folder, source).records
    assert model.score(text, str(source)).nats == score["nats"]
    assert model.score([text[:1000], text[1000:]]).nats == pytest.approx(score["nats"], rel=1e-6)
    assert model.score(text.decode()).bits_per_byte == score["bits_per_byte"]

    for half in ("the \ud83d", "the \udc80"):  # half a character, which is no text; a byte that is none
        assert len(model.sample(half, length=5)[0].text) == 5
        assert model.score(half).nats > 0

    shown = run("evaluate", model_folder, source, "--json").json
    result = model.evaluate(str(source))
    assert {**result, "seconds": 0} == {**shown, "seconds": 0}
    assert model.info() == run("info", model_folder, "--json").json


def test_python_trains_what_the_command_trains(run: Run, text_file: Path, tmp_path: Path) -> None:
    run("train", text_file, "-o", tmp_path / "command", *TINY)
    model = seqgen.train(text_file.as_posix(), tmp_path / "python", rnn_size=16, steps=3, threads=1, precision="fp32")
    assert weights(tmp_path / "python") == weights(tmp_path / "command")
    assert model.sample(length=5)[0].text == seqgen.load(tmp_path / "command").sample(length=5)[0].text


def test_the_package_shows_what_it_has() -> None:
    assert set(seqgen.__all__) <= set(dir(seqgen))
    for name in seqgen.__all__:
        assert getattr(seqgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqgen.nothing


# ---- What is not needed is not imported ----


def imported(code: str, *arguments: object) -> set[str]:
    """The packages that are there at the end of `code`, run in a process of its own."""
    after = "\nimport sys\nsys.stderr.write('\\n' + ' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + after, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


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
