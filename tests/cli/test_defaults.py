"""Flags from `--config` and from environment variables: their order, their types, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.running import Command, RefusedRun, Run

TINY = {"steps": 2, "rnn_size": 16, "threads": 1, "precision": "fp32"}


def toml(path: Path, **settings: object) -> Path:
    def value(of: object) -> str:
        return str(of).lower() if isinstance(of, bool) else repr(of)

    path.write_text("".join(f"{name} = {value(setting)}\n" for name, setting in settings.items()), encoding="utf-8")
    return path


TUNES = Path(__file__).parents[1] / "golden" / "models" / "tunes-gru"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "run.toml"


def test_defaults_flag_beats_variable_beats_file_beats_default(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_folder: Path, config: Path
) -> None:
    """Each of them gives the length of a sample."""

    def length(*flags: object) -> int:
        return len(run("sample", model_folder, *flags).text)

    assert length() == 500
    toml(config, length=30)
    assert length("--config", config) == 30
    monkeypatch.setenv("SEQGEN_SAMPLE_LENGTH", "20")
    assert length("--config", config) == 20
    assert length("--config", config, "--length", 10) == 10
    assert length("-l", 10) == 10
    monkeypatch.setenv("SEQGEN_SAMPLE_LENGTH", "")
    assert length("--config", config) == 30, "an empty variable is unset"


def test_defaults_file_trains_a_model(run: Run, text_file: Path, tmp_path: Path, config: Path) -> None:
    """Sources and output too; keys with dashes or underscores, aliases, lists."""
    toml(config, sources=[str(text_file)], output=str(tmp_path / "m"), cell="gru", lr=0.01, **TINY)
    config.write_text(config.read_text().replace("rnn_size", "hidden-size"))
    run("train", "--config", config)
    facts = run("info", tmp_path / "m", "--json").json
    assert (facts["network"]["cell"], facts["network"]["rnn_size"]) == ("gru", 16)
    assert facts["training"]["schedule"]["learning_rate"] == 0.01


def test_defaults_file_and_resume(run: Run, text_file: Path, tmp_path: Path, config: Path) -> None:
    """The file that began a run continues it; what would change is refused, and says where it comes from."""
    toml(config, sources=[str(text_file)], output=str(tmp_path / "m"), overwrite=True, **TINY)
    run("train", "--config", config)
    run("train", "--config", config, "--resume", "--steps", 3)
    assert run("info", tmp_path / "m", "--json").json["training"]["step"] == 3
    toml(config, sources=[str(text_file)], output=str(tmp_path / "m"), **{**TINY, "rnn_size": 32})
    refused = run("train", "--config", config, "--resume", status=2).err
    assert "--rnn-size can't change on --resume" in refused and f"(from {config})" in refused


def test_defaults_an_alternative_on_the_command_line_counts_more(
    run: Run, monkeypatch: pytest.MonkeyPatch, text_file: Path, tmp_path: Path, config: Path
) -> None:
    toml(config, budget="5m", rnn_size=16, threads=1)
    run("train", text_file, "-o", tmp_path / "m", "--config", config, "--steps", 2)
    monkeypatch.setenv("SEQGEN_TRAIN_EPOCHS", "1")
    monkeypatch.setenv("SEQGEN_TRAIN_STEPS", "1")
    assert (
        "not --epochs and --steps (from SEQGEN_TRAIN_EPOCHS)"
        in run("train", text_file, "-o", tmp_path / "n", status=2).err
    )


def test_defaults_replay_takes_nothing_from_elsewhere(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path
) -> None:
    receipt = run("sample", model_folder, "--length", 20, "--json").out
    (tmp_path / "receipt").write_bytes(receipt)
    monkeypatch.setenv("SEQGEN_SAMPLE_TEMPERATURE", "0.1")
    monkeypatch.setenv("SEQGEN_SAMPLE_JSON", "1")
    assert run("sample", "--replay", tmp_path / "receipt").out == receipt


def test_defaults_of_flags_that_interactive_excludes_are_left_aside(
    refused: RefusedRun, monkeypatch: pytest.MonkeyPatch, model_folder: Path, config: Path
) -> None:
    toml(config, length=400, stop=["x"], stop_at_end=True, label="x", adaptive=True, beam=2, show_prompt=False,
         state_out="s", state_in="s", json=True, shard="1/2", first=1)  # fmt: skip
    monkeypatch.setenv("SEQGEN_SAMPLE_N", "3")
    line = ["sample", str(model_folder), "--interactive", "--config", str(config)]
    assert "--interactive needs a terminal" in refused(line)
    assert "--length can't be used with --interactive" in refused([*line, "--length", "3"])
    monkeypatch.setenv("SEQGEN_SAMPLE_TEMPERATURE", "0.2,0.7")
    assert "--interactive needs a terminal" in refused(line)
    said = "several temperatures can't be used with --interactive"
    assert said in refused([*line, "-t", "0.2,0.7"])


def test_defaults_give_the_format_of_a_replayed_piece(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "receipt").write_bytes(run("sample", TUNES, "--length", 1, "--json").out)
    assert run("sample", TUNES, "--replay", tmp_path / "receipt").out.startswith(b"MThd")
    monkeypatch.setenv("SEQGEN_SAMPLE_FORMAT", "wav")
    assert run("sample", TUNES, "--replay", tmp_path / "receipt").out.startswith(b"RIFF")


@pytest.mark.parametrize(("text", "quantised"), [("1", 0), ("TRUE", 0), ("0", 1), ("false", 1)])
def test_defaults_booleans_of_variables(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_folder: Path, text: str, quantised: int
) -> None:
    monkeypatch.setenv("SEQGEN_SAMPLE_SHOW_PROMPT", text)
    written = run("sample", model_folder, "--prompt", "the lamp", "--length", 5).text
    assert written.startswith("the lamp") is not bool(quantised)


def test_defaults_a_variable_names_the_file(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_folder: Path, config: Path
) -> None:
    monkeypatch.setenv("SEQGEN_SAMPLE_CONFIG", str(toml(config, length=12)))
    assert len(run("sample", model_folder).text) == 12


def test_defaults_of_a_repeatable_flag(run: Run, model_folder: Path, config: Path) -> None:
    """The command line replaces the list of the file."""
    whole = run("sample", model_folder).text
    toml(config, stop=["e", "a"])
    assert run("sample", model_folder, "--config", config).text == whole[: min(whole.index("e"), whole.index("a"))]
    assert run("sample", model_folder, "--config", config, "--stop", "zzz").text == whole


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", None], ids=["UTF-8 with a mark", "UTF-16"])
def test_defaults_file_in_the_encodings_of_windows(
    run: Run, model_folder: Path, config: Path, start: bytes | None
) -> None:
    config.write_bytes(b"".join([start, b"length = 7\r\n"]) if start else "length = 7\r\n".encode("utf-16"))
    assert len(run("sample", model_folder, "--config", config).text) == 7


def test_defaults_file_from_a_pipe(run: Run, model_folder: Path) -> None:
    assert len(run("sample", model_folder, "--config", "-", stdin=b"length = 6\n").text) == 6


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("epochz = 3", "'epochz' is no flag of `seqgen train`; did you mean 'epochs'?"),
        ("no_tie_weights = true", "did you mean 'tie_weights'?"),
        ("xyzzy = 1", "`seqgen train --help` lists them"),
        ("config = 'other.toml'", "'config' is no flag"),
        ("help = true", "'help' is no flag"),
        ("rnn_size = 'a'", "rnn_size must be a whole number, not 'a'"),
        ("rnn_size = 1.5", "rnn_size must be a whole number, not 1.5"),
        ("rnn-size = true", "rnn-size must be a whole number, not true"),
        ("steps = [1]", "steps must be one value, not a list"),
        ("budget = 60", "budget must be a string, not 60: put it in quotes, '60'"),
        ("target = [1]", "target must be a string, not 1"),
        ('stop-words = "a\\u0000b"', "stop-words has a NUL character"),
        ("linear = 1", "linear must be true or false, not 1"),
        ("lr = 0.1\nlearning_rate = 0.1", "lr and learning_rate are the same flag"),
        ("lr = ", "this is not TOML"),
        ("lr = '\udcff'", "this is not TOML, which is UTF-8"),
        ("rnn_size = 0", "--rnn-size must be at least 1, not 0 (from "),
        ("cell = 'ltsm'", "did you mean 'lstm'? (from "),
    ],
    ids=lambda value: value.split(" = ")[0] if " = " in value else "",
)
def test_defaults_file_refused(refused: RefusedRun, config: Path, line: str, said: str) -> None:
    config.write_bytes(line.encode("utf-8", "surrogateescape"))
    error = refused(["train", "tidewater", "-o", "x", "--config", str(config)])
    assert said in error and str(config) in error


def test_defaults_file_that_is_missing(refused: RefusedRun, tmp_path: Path) -> None:
    assert "nope.toml" in refused(["train", "tidewater", "-o", "x", "--config", str(tmp_path / "nope.toml")])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STEPS", "a", "SEQGEN_TRAIN_STEPS must be a whole number, not 'a'"),
        ("DROPOUT", "much", "SEQGEN_TRAIN_DROPOUT must be a number, not 'much'"),
        ("RESUME", "maybe", "SEQGEN_TRAIN_RESUME must be 1, 0, true or false, not 'maybe'"),
        ("RNN_SIZE", "0", "--rnn-size must be at least 1, not 0 (from SEQGEN_TRAIN_RNN_SIZE)"),
        ("BUDGET", "soon", "must be a time such as 90s, 10m or 2h; not 'soon' (from SEQGEN_TRAIN_BUDGET)"),
    ],
)
def test_defaults_variable_refused(
    refused: RefusedRun, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"SEQGEN_TRAIN_{name}", value)
    assert said in refused(["train", "tidewater", "-o", "x"])


def test_defaults_unknown_variable_warns(run: Run, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    monkeypatch.setenv("SEQGEN_SAMPLE_LENGHT", "5")
    monkeypatch.setenv("SEQGEN_CACHE_OF_MINE", "no flag of a command")
    result = run("sample", model_folder, "--length", 5)
    assert result.err == (
        "seqgen: warning: the variable SEQGEN_SAMPLE_LENGHT is for no flag of `seqgen sample`; "
        "did you mean 'SEQGEN_SAMPLE_LENGTH'?\n"
    )
    assert run("sample", model_folder, "--length", 5, "--quiet").err == ""
    assert run("info", model_folder).err == ""
    monkeypatch.setenv("SEQGEN_SAMPLE_QUIET", "1")
    assert run("sample", model_folder, "--length", 5).err == ""


def test_config_file_names_of_other_scripts_are_found_in_any_locale(
    seqgen_command: Command, model_folder: Path, config: Path, tmp_path: Path
) -> None:
    toml(config, output=str(tmp_path / "灯塔.txt"), length=5)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = seqgen_command("sample", model_folder, "--config", config, **ascii_only)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len((tmp_path / "灯塔.txt").read_text("utf-8")) == 5
