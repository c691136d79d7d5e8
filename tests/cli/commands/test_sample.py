"""`seqgen sample` of text: length, prompts, JSON, filters, stop strings and outputs."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.helpers.running import MIXED_BYTES, Command, Run

# ---- sample ----


def test_sample_length_is_exact(seqgen_command: Command, model_folder: Path) -> None:
    done = seqgen_command("sample", model_folder, "--length", 200)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.decode("utf-8", "surrogateescape")) == 200
    assert seqgen_command("sample", model_folder, "--length", 200).stdout == done.stdout


@pytest.mark.parametrize("length", [0, 1, 77])
def test_sample_prompt_is_repeated_and_not_counted(run: Run, model_folder: Path, tmp_path: Path, length: int) -> None:
    prompt = tmp_path / "prompt"
    prompt.write_bytes(MIXED_BYTES)
    shown = run("sample", model_folder, "--prompt-file", prompt, "--length", length).out
    assert shown.startswith(MIXED_BYTES)
    text = run("sample", model_folder, "--prompt-file", prompt, "--length", length, "--no-show-prompt").out
    assert shown == MIXED_BYTES + text
    assert len(text.decode("utf-8", "surrogateescape")) == length


def test_sample_prompt_file_reads_pipes_and_compressed_files(run: Run, model_folder: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.gz"
    prompt.write_bytes(gzip.compress(MIXED_BYTES))
    piped = run("sample", model_folder, "--prompt-file", "-", "--length", 30, stdin=MIXED_BYTES).out
    assert piped.startswith(MIXED_BYTES)
    assert run("sample", model_folder, "--prompt-file", prompt, "--length", 30).out == piped


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_sample_prompt_file_in_any_encoding_is_the_same_prompt(
    codec: str, run: Run, model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_bytes("The lamp on the quay was lit. ".encode(codec))
    from_file = run("sample", model_folder, "--prompt-file", tmp_path / "p.txt", "-l", 20).out
    assert from_file == run("sample", model_folder, "--prompt", "The lamp on the quay was lit. ", "-l", 20).out
    piped = run("sample", model_folder, "--prompt-file", "-", "-l", 20, stdin=(tmp_path / "p.txt").read_bytes()).out
    assert piped == from_file


def test_sample_prompt_accepts_any_bytes(seqgen_command: Command, model_folder: Path) -> None:
    done = seqgen_command("sample", model_folder, "--prompt", os.fsdecode(MIXED_BYTES), "--length", 3)
    assert done.stdout.startswith(MIXED_BYTES)


@pytest.mark.parametrize("alias", ["--primetext", "--start", "--prefix", "-p"])
def test_sample_prompt_flag_has_aliases(run: Run, model_folder: Path, alias: str) -> None:
    expected = run("sample", model_folder, "--prompt", "the boy ", "--length", 20).out
    assert expected.startswith(b"the boy ")
    assert run("sample", model_folder, alias, "the boy ", "--length", 20).out == expected


def test_sample_short_flags(run: Run, model_folder: Path) -> None:
    long = run("sample", model_folder, "--temperature", 0.5, "--length", 40, "--num-samples", 2, "--output", "-").out
    assert run("sample", model_folder, "-t", 0.5, "-l", 40, "-n", 2, "-o", "-").out == long


def test_sample_prompt_has_an_effect(run: Run, model_folder: Path) -> None:
    texts = {run("sample", model_folder, "-p", p, "-l", 60, "--no-show-prompt").out for p in ("the ", "q", "\n", "")}
    assert len(texts) > 1


def test_sample_seed_determines_the_text(run: Run, model_folder: Path) -> None:
    one = run("sample", model_folder, "--seed", 1).text
    assert len(one) == 500, "so many characters when nothing is said"
    assert run("sample", model_folder, "--seed", 1).text == one
    assert run("sample", model_folder, "--seed", 2).text != one


@pytest.mark.parametrize("engine", ["light", "torch"])
def test_sample_alone_equals_sample_in_a_batch(run: Run, model_folder: Path, engine: str) -> None:
    how = ["--json", "--length", 60, "--seed", 5, "--prompt", "the ", "--engine", engine]
    five = run("sample", model_folder, *how, "-n", 5).records
    assert [record["index"] for record in five] == [0, 1, 2, 3, 4]
    assert len({record["text"] for record in five}) == 5
    (alone,) = run("sample", model_folder, *how, "-n", 1, "--first", 3).records
    assert alone == five[3]
    assert run("sample", model_folder, *how, "-n", 2, "--first", 2).records == five[2:4]


def test_sample_json_fields(run: Run, model_folder: Path) -> None:
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


def test_sample_json_invalid_utf8_is_valid_json(run: Run, model_folder: Path) -> None:
    (record,) = run("sample", model_folder, "--json", "--prompt-file", "-", "--length", 5, stdin=MIXED_BYTES).records
    assert record["prompt"].encode("utf-8", "surrogateescape") == MIXED_BYTES


def test_sample_several_are_separated_by_blank_lines(run: Run, model_folder: Path) -> None:
    texts = [record["text"] for record in run("sample", model_folder, "--json", "-n", 3, "--length", 40).records]
    together = run("sample", model_folder, "-n", 3, "--length", 40, "--prompt", "").text
    assert together == "\n\n".join(texts) + "\n"


def test_sample_stop_string_ends_the_text(run: Run, model_folder: Path) -> None:
    whole = run("sample", model_folder, "--length", 300, "-t", 0.5).text
    stop, other = whole[100:104], whole[60:63]
    (record,) = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", stop, "--json").records
    assert record["text"] == whole[: whole.index(stop)]
    assert record["finish_reason"] == "stop"
    both = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", stop, "--stop", other).text
    assert both == whole[: min(whole.index(stop), whole.index(other))]
    never = run("sample", model_folder, "--length", 300, "-t", 0.5, "--stop", "never to be written").text
    assert never == whole


def test_sample_stop_string_of_unknown_characters(run: Run, model_folder: Path) -> None:
    """Nothing in the prompt stops the text: it is what comes after it that counts."""
    text = run("sample", model_folder, "--prompt", "。", "--stop", "。", "--length", 20, "--no-show-prompt").text
    assert len(text) == 20


GREEDY = [
    ["--temperature", 0], ["--top-k", 1], ["--top-p", 1e-9], ["--min-p", 1], ["-t", 0, "--top-k", 5, "--top-p", 0.5],
]  # fmt: skip


@pytest.mark.parametrize("flags", GREEDY, ids=str)
def test_sample_narrowest_filters_equal_greedy(run: Run, model_folder: Path, flags: list[object]) -> None:
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
def test_sample_widest_filters_change_nothing(run: Run, model_folder: Path, flags: list[object]) -> None:
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
def test_sample_every_filter_has_an_effect(run: Run, model_folder: Path, flags: list[object]) -> None:
    free = run("sample", model_folder, "--length", 200).out
    filtered = run("sample", model_folder, "--length", 200, *flags)
    assert filtered.out != free
    assert len(filtered.text) == 200
    assert run("sample", model_folder, "--length", 200, *flags) == filtered


@pytest.mark.parametrize("command", ["sample", "score", "evaluate", "tokenize"])
def test_output_file_equals_stdout(run: Run, model_folder: Path, two_files: Path, tmp_path: Path, command: str) -> None:
    sources = [] if command == "sample" else [two_files / "a.txt"]
    flags = ["--no-baselines"] if command == "evaluate" else []
    shown = run(command, model_folder, *sources, *flags).out
    filed = run(command, model_folder, *sources, *flags, "-o", tmp_path / "new" / "out")
    assert filed.out == b""
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    kept = (tmp_path / "new" / "out").read_bytes()
    if command == "evaluate":  # its first line tells how long it took
        shown, kept = shown.partition(b"\n")[2], kept.partition(b"\n")[2]
    assert kept == shown


def test_sample_engine_light_is_an_alias_of_cpu(run: Run, model_folder: Path) -> None:
    """The former name of the engine, which receipts keep; `--help` no longer lists it."""
    (cpu,) = run("sample", model_folder, "--json", "-l", 20, "--engine", "cpu").records
    (light,) = run("sample", model_folder, "--json", "-l", 20, "--engine", "light").records
    assert cpu == light
    assert cpu["receipt"]["engine"] == "light"
    assert "auto|light" not in run("sample", "--help").out.decode()
