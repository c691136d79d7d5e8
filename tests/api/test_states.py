"""Saved states: a text or piece continued from one equals the uninterrupted one, on every engine."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqgen
from seqgen import tokenizers
from seqgen.api import sampling
from seqgen.api.alternatives import TokenChoice, alternatives
from seqgen.api.model import Model
from seqgen.checkpoint import write_weights
from seqgen.errors import ModelError, UserError
from seqgen.generation.music.composing import music_codec
from seqgen.generation.state import MIN_HISTORY, SavedState, from_bytes
from seqgen.generation.text import Sample
from seqgen.tensors import dump, parse
from tests.helpers.random_models import CODECS, ENGINES, Models, load_model
from tests.helpers.running import Run
from tests.helpers.untrained import TEXT

CELLS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu")]


class Keeper:
    """Stores the state of the only sample."""

    def __init__(self) -> None:
        self.states: list[SavedState] = []

    def __call__(self, sample: Sample, saved: SavedState) -> None:
        self.states.append(saved)

    @property
    def state(self) -> SavedState:
        (state,) = self.states
        return state


def in_parts(model: Model, lengths: list[int], prompt: str = "", **options: Any) -> list[str]:
    """Generate a text in parts, each from the state that the previous one saved, as bytes."""
    state, parts = None, []
    for length in lengths:
        keeper = Keeper()
        (sample,) = model.sample("" if state else prompt, state=state, on_state=keeper, length=length, **options)
        parts.append(sample.text)
        fingerprint = model.checkpoint.fingerprint
        state = from_bytes(keeper.state.to_bytes(fingerprint), "s", fingerprint, model.checkpoint.language_config)
        if options.get("seed") is not None:
            options = {name: value for name, value in options.items() if name != "seed"}  # the state has it
    return parts


# ---- Text ----


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_state_continues_every_cell(models: Models, cell: str, activation: str, engine: str) -> None:
    model = load_model(models("char", cell=cell, activation=activation, num_layers=2), engine)
    whole = model.sample("The ", length=90, seed=3)[0].text
    assert "".join(in_parts(model, [35, 55], "The ", seed=3)) == whole


@pytest.mark.parametrize("options", [
    {}, {"repetition_penalty": 2.5, "repetition_window": 11, "temperature": 1.3}, {"top_k": 3, "min_p": 0.01},
    {"mirostat_tau": 3.0}, {"xtc_probability": 0.5, "xtc_threshold": 0.05}, {"dry_multiplier": 1.0, "dry_window": 40},
    {"ban": ("e", "灯", "am")},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", CODECS)
def test_state_continues_at_any_length(models: Models, kind: str, options: dict[str, Any]) -> None:
    """The parts may end within a character, or within a subword."""
    model = load_model(models(kind))
    whole = model.sample("The 灯", length=60, seed=8, **options)[0].text
    for cut in (0, 1, 2, 3, 30, 59, 60):
        assert "".join(in_parts(model, [cut, 60 - cut], "The 灯", seed=8, **options)) == whole
    assert "".join(in_parts(model, [1] * 60, "The 灯", seed=8, **options)) == whole


@given(st.binary(max_size=20), st.integers(0, 20), st.sampled_from(list(CODECS)))
@settings(max_examples=60)
def test_state_continues_a_prompt_in_two_parts(models_: Models, prompt: bytes, cut: int, kind: str) -> None:
    """The prompt may be split anywhere: bytes that can't be tokenized alone wait for the rest."""
    model = READERS.setdefault(kind, load_model(models_(kind)))
    state = model.read(prompt[cut:], model.read(prompt[:cut]))
    (sample,) = model.sample(prompt, length=12)
    (other,) = model.sample(state=state, length=12)
    assert (other.text, other.tokens) == (sample.text, sample.tokens)
    assert other.log_probability == sample.log_probability


READERS: dict[str, Model] = {}


@pytest.fixture(scope="session")
def models_(models: Models) -> Models:
    """`models` for tests by Hypothesis, which need a fixture of a wider scope."""
    return models


def test_state_after_a_grammar_match_begins_another(models: Models) -> None:
    model = load_model(models("char"))
    keeper = Keeper()
    (first,) = model.sample(grammar="(the|old) [a-z]{3,9}!", length=30, on_state=keeper)
    (second,) = model.sample(state=keeper.state, grammar="[0-9]+\\.", length=9)
    assert re.fullmatch("(the|old) [a-z]{3,9}!", first.text) and first.finish_reason == "grammar"
    assert re.fullmatch("[0-9]+\\.", second.text)


def inside_a_token(model: Model) -> SavedState:
    """A state of whose last token only the first character was written."""
    token, piece = max(
        ((token, piece) for token, piece in enumerate(model.codec.pieces()) if isinstance(piece, str)),
        key=lambda each: len(each[1]),
    )
    keeper = Keeper()
    (sample,) = model.sample("The ", length=1, logit_bias=(f"#{token}=99",), on_state=keeper)
    assert sample.text + keeper.state.pending == piece and keeper.state.pending
    return keeper.state


def test_state_inside_a_token_continues_within_grammar_and_ban(models: Models) -> None:
    """What the token left over is part of the text that has to match."""
    model = load_model(models("subword"))
    state = inside_a_token(model)
    rest, first = state.pending, decoded(model, state)[-len(state.pending) - 1]
    assert model.sample(state=state, length=40, seed=1)[0].text.startswith(rest)
    pattern = f"{re.escape(rest)}[0-9]{{3}}|[0-9]+"
    for sample in model.sample(state=state, n=3, length=40, grammar=pattern):
        assert re.fullmatch(pattern, sample.text) and sample.finish_reason == "grammar"
    for length, grammar in ((9, "[0-9]{3}"), (1, "[0-9]{1,3}")):
        with pytest.raises(UserError, match=f"begins with what its last token left over, {rest!r}, and --grammar"):
            model.sample(state=state, length=length, grammar=grammar)
    with pytest.raises(UserError, match=f"at least {len(rest) + 3} characters, and the limit is {len(rest) + 2}"):
        model.sample(state=state, length=len(rest) + 2, grammar=pattern)
    for banned in (rest, first + rest):
        with pytest.raises(UserError, match="excludes that"):
            model.sample(state=state, length=9, ban=(banned,))
    following = model.sample(state=state, length=9)[0].text[len(rest)]
    (other,) = model.sample(state=state, length=9, ban=(rest[-1] + following,))
    assert other.text.startswith(rest) and other.text[len(rest)] != following


def test_state_inside_a_character_continues_within_a_grammar(models: Models) -> None:
    """Its first bytes were read: the others make it whole, or nothing can."""
    model = load_model(models("byte"))
    state = model.read("The ")
    ids = model.codec.encode("灯".encode())[:2]
    _, inner = model.engine.logits_of(np.array([state.last, ids[0]]), model.engine.import_state(state.cells))
    history = [*state.history, *ids.tolist()]
    cells = model.engine.export_state(inner, 0)
    state = dataclasses.replace(state, cells=cells, last=int(ids[1]), history=history, tail=ids.tolist())
    (sample,) = model.sample(state=state, length=3, grammar="灯[0-9]{2}")
    assert re.fullmatch("灯[0-9]{2}", sample.text)
    with pytest.raises(UserError, match="left over"):
        model.sample(state=state, length=3, grammar="[0-9]{3}")


@pytest.mark.parametrize("length", [1, 25])
def test_alternatives_after_a_state_are_those_of_the_whole_text(models: Models, length: int) -> None:
    """What a token left over was chosen before, and has none."""
    model = load_model(models("subword"))
    state = inside_a_token(model)
    beginning = decoded(model, state)

    def choices(text: str, state: SavedState | None, prompt: str = "") -> list[TokenChoice]:
        request = sampling.make_request(prompt, {"length": 25}, state=state)
        return alternatives(model, sampling.prepare(model, request), text, 3)

    (sample,) = model.sample(state=state, length=length, seed=2)
    found = choices(sample.text, state)
    drawn = sample.text[len(state.pending) :]
    assert "".join(choice.token for choice in found) == drawn
    for own, wanted in zip(found, choices(drawn, None, beginning), strict=True):
        assert own.token == wanted.token and own.probability == pytest.approx(wanted.probability, rel=1e-4)


def decoded(model: Model, state: SavedState) -> str:
    """All text that a state has read."""
    return tokenizers.decode(model.codec, state.history).decode()


@pytest.mark.parametrize("kind", CODECS)
def test_state_continues_after_a_stop_string(models: Models, kind: str) -> None:
    model = load_model(models(kind))
    whole = model.sample(length=200, seed=2)[0].text
    stop = whole[61:63]
    first, second = in_parts(model, [200, 50], seed=2, stop=(stop,))
    position = whole.index(stop)
    assert first == whole[:position]
    after = whole[position + len(stop) :]
    assert second == after[: after.find(stop)][:50] if stop in after[:50] else second == after[:50]


def test_state_prompt_comes_after_pending_text(models: Models) -> None:
    model = load_model(models("subword"))
    for length in range(1, 12):
        keeper = Keeper()
        (sample,) = model.sample("The ", on_state=keeper, length=length, seed=4)
        (more,) = model.sample(" AND ", state=keeper.state, length=9)
        assert more.prompt == keeper.state.pending + " AND "
        assert len(more.text) == 9
        whole = model.sample("The ", length=length + 30, seed=4)[0].text
        assert whole.startswith(sample.text + keeper.state.pending)


def test_state_continues_in_several_samples(models: Models) -> None:
    model = load_model(models("char"))
    state = model.read("The old lamp ")
    forks = model.sample(state=state, n=5, length=30, seed=6)
    assert len({fork.text for fork in forks}) == 5
    assert [fork.text for fork in forks] == [one.text for one in model.sample("The old lamp ", n=5, length=30, seed=6)]
    assert model.sample(state=state, first=3, length=30, seed=6) == [forks[3]]
    assert model.sample(state=state, length=30, seed=7)[0].text != forks[0].text


def test_state_continues_a_text_less_surprising_than_mirostat_wants(models: Models) -> None:
    model = load_model(models("byte"))
    first, second = in_parts(model, [1100, 20], seed=1, mirostat_tau=100.0, mirostat_eta=10.0)
    assert (len(first), len(second)) == (1100, 20)


def test_state_keeps_its_sample_by_default(models: Models) -> None:
    """Of a text and of music; further ones are numbered after it."""
    model, keeper = load_model(models("byte")), Keeper()
    (whole,) = model.sample("The ", length=40, first=3)
    (begun,) = model.sample("The ", length=15, first=3, on_state=keeper)
    continued = model.sample(state=keeper.state, n=2, length=25)
    assert begun.text + continued[0].text == whole.text and [each.index for each in continued] == [3, 4]
    assert model.sample(state=keeper.state, length=25, first=0)[0] != continued[0]
    assert model.read("x", keeper.state).index == 3
    assert [model.sample(state=keeper.state, length=9, **how)[0].index for how in ({"beam": 2}, {"best_of": 2})] == [
        0,
        0,
    ]
    music = load_model(models("midi", "music"))
    (piece,) = music.compose(length=2, first=5, keep=True)
    assert [each.index for each in music.compose(length=1, n=2, state=piece.saved)] == [5, 6]


def test_state_keeps_its_seed_by_default(models: Models) -> None:
    model = load_model(models("char"))
    keeper = Keeper()
    model.sample(length=10, seed=21, on_state=keeper)
    assert model.sample(state=keeper.state, length=5)[0].seed == 21
    assert model.sample(state=keeper.state, length=5, seed=1)[0].seed == 1


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_state_continues_on_any_engine(models: Models, cell: str) -> None:
    """The logits after the state of another engine agree as closely as those of the engines."""
    folder = models("char", cell=cell, num_layers=2)
    engines = [load_model(folder, name) for name in ENGINES]
    states = [model.read("The old lamp was li") for model in engines]
    for model, state in itertools.product(engines, states):
        logits, _ = model.engine.step(np.array([5]), model.engine.import_state(state.cells))
        wanted, _ = engines[0].engine.step(np.array([5]), engines[0].engine.import_state(states[0].cells))
        np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(model.engine.export_state(model.engine.import_state(state.cells), 0), state.cells)


def test_state_size_is_constant(models: Models) -> None:
    model = load_model(models("byte"))
    sizes, state = [], None
    for _ in range(4):
        state = model.read(TEXT[:3000], state)
        sizes.append(len(state.to_bytes("m")))
    assert len(state.history) == MIN_HISTORY and state.cut
    assert sizes[-1] - sizes[-2] == 0


def test_state_continues_a_conversation(models: Models) -> None:
    model = load_model(models("dialogue", "dialogue"))
    whole = model.sample("Hello", length=150, seed=1)[0].text
    assert "A: " in whole or "B: " in whole
    for cut in (0, 1, 40, 149):
        assert "".join(in_parts(model, [cut, 150 - cut], "Hello", seed=1)) == whole
    state = model.read("Hello")
    (sample,) = model.sample("And you?", state=state, length=20)
    assert sample.prompt == "\nA: And you?"


def test_state_continues_a_labelled_text(models: Models) -> None:
    model = load_model(models("labelled", "classify", labels=("sun", "moon")))
    keeper = Keeper()
    (first,) = model.sample("The", label="moon", length=20, seed=5, on_state=keeper)
    (whole,) = model.sample("The", label="moon", length=40, seed=5)
    (rest,) = model.sample(state=keeper.state, length=40 - len(first.text), stop_at_end=True)
    assert first.text + rest.text == whole.text


def test_state_continues_the_best_of_several(models: Models) -> None:
    model = load_model(models("char"))
    for search in ({"best_of": 4}, {"beam": 3}):
        keeper = Keeper()
        (sample,) = model.sample("The ", length=20, on_state=keeper, **search)
        (greedy,) = model.sample(state=keeper.state, length=15, temperature=0)
        assert greedy.text == model.sample("The " + sample.text, length=15, temperature=0)[0].text


# ---- Music ----


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.5}, {"temperature": 1.4, "key": "D dorian"}], ids=str)
def test_state_continues_music(models: Models, options: dict[str, Any]) -> None:
    """The same events are drawn; notes across the bar line end with the first part."""
    model = load_model(models("midi", "music"))
    (whole,) = model.compose(length=5, seed=1, keep=True, **options)
    (first,) = model.compose(length=2, seed=1, keep=True, **options)
    assert first.saved is not None
    fingerprint = model.checkpoint.fingerprint
    state = from_bytes(first.saved.to_bytes(fingerprint), "s", fingerprint, model.checkpoint.language_config)
    (second,) = model.compose(length=3, state=state, keep=True, **options)
    assert second.saved is not None
    assert (first.events + 1 + second.events, first.bars + second.bars) == (
        whole.events,
        5,
    )  # 1: the bar event between them
    assert len(whole.piece.notes) > 5
    line = first.piece.bars[-1].start + first.piece.bars[-1].length
    assert [bar.start + line for bar in second.piece.bars] == [bar.start for bar in whole.piece.bars[2:]]
    assert [bar[2:] for bar in second.piece.bars] == [bar[2:] for bar in whole.piece.bars[2:]]
    begun = [(note.start + line, note.track, note.pitch, note.velocity) for note in second.piece.notes]
    assert begun == [(n.start, n.track, n.pitch, n.velocity) for n in whole.piece.notes if n.start >= line]
    (third,) = model.compose(length=2, state=second.saved, **options)
    assert third.bars == 2


def test_state_after_the_end_of_a_piece_begins_another(models: Models) -> None:
    model = load_model(models("midi", "music"))
    for seed in range(40):
        (piece,) = model.compose(length=30, seed=seed, keep=True, stop_at_end=True)
        if piece.finish_reason == "end":
            break
    assert piece.saved is not None and piece.saved.walk is None
    (other,) = model.compose(length=2, state=piece.saved)
    assert other.bars == 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metre",), 999), (("metre",), [4, 3]), (("tempo",), 999), (("tempo",), None), (("track",), 16),
        (("parts",), [{}] * 17), (("parts",), {}), (("parts", 0), 3), (("parts", 0, "program"), 128),
        (("parts", 0, "velocity"), None), (("parts", 0, "duration"), 0), (("parts", 0, "sounding"), {"128": 1}),
        (("parts", 0, "sounding"), {"60": -1}), (("parts", 0, "latest"), [[60]]), (("parts", 0, "latest"), [[60, 1]]),
    ],
    ids=str,
)  # fmt: skip
def test_state_with_damaged_grammar_is_refused(models: Models, path: tuple[Any, ...], value: Any) -> None:
    model = load_model(models("midi", "music"))
    (piece,) = model.compose(length=3, seed=1, keep=True)
    assert piece.saved is not None
    walk = json.loads(json.dumps(piece.saved.walk))
    inner = walk
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ModelError, match="cannot load the state of the piece of music"):
        model.compose(length=2, state=dataclasses.replace(piece.saved, walk=walk))
    with pytest.raises(ModelError, match="state of the grammar is missing"):
        model.compose(length=2, state=dataclasses.replace(piece.saved, walk=None))


@pytest.mark.parametrize("event_type", ["position", "metre", "note", "end"])
def test_state_of_music_that_is_at_no_bar_line_is_refused(models: Models, event_type: str) -> None:
    model = load_model(models("midi", "music"))
    (piece,) = model.compose(length=2, seed=1, keep=True)
    assert piece.saved is not None
    last = music_codec(model.codec).vocabulary.id(event_type)
    with pytest.raises(ModelError, match="its last event begins no bar"):
        model.compose(length=2, state=dataclasses.replace(piece.saved, last=last))


# ---- The command ----


def test_sample_command_continues_a_state(models: Models, run: Run, tmp_path: Path) -> None:
    model, state = models("byte"), tmp_path / "states" / "s"
    whole = run("sample", model, "-p", "The ", "-l", 120, "--seed", 4).out
    first = run("sample", model, "-p", "The ", "-l", 50, "--seed", 4, "--state-out", state).out
    second = run("sample", model, "--state-in", state, "-l", 70).out
    assert first + second == whole
    piped = run("sample", model, "--state-in", "-", "-l", 70, stdin=state.read_bytes()).out
    assert piped == second
    keeper = run("sample", model, "-p", "The ", "-l", 50, "--seed", 4, "--state-out", "-", "-o", tmp_path / "text")
    assert (keeper.out, (tmp_path / "text").read_bytes()) == (state.read_bytes(), first)
    parts = [run("sample", model, "--state-in", state, "--state-out", state, "-l", 35).out for _ in range(2)]
    assert b"".join(parts) == second  # the state file is overwritten
    third = run("sample", model, "-p", "The ", "-l", 50, "--seed", 4, "--first", 2, "--state-out", state).out
    third += run("sample", model, "--state-in", state, "-l", 70).out
    assert third == run("sample", model, "-p", "The ", "-l", 120, "--seed", 4, "--first", 2).out != whole


def test_score_command_saves_a_state_for_samples(models: Models, run: Run, tmp_path: Path) -> None:
    model, state, book = models("char"), tmp_path / "s", tmp_path / "book"
    book.write_bytes(TEXT)
    run("sample", model, "--prompt-file", book, "-l", 0, "--no-show-prompt", "--state-out", state)
    printed = run("sample", model, "--state-in", state, "-p", "And ", "-l", 40).out
    assert printed == run("sample", model, "--prompt-file", book, "-l", 0, "--no-show-prompt").out + printed
    book.write_bytes(TEXT + b"And ")
    assert run("sample", model, "--prompt-file", book, "-l", 40, "--no-show-prompt").out == printed[4:]


def test_sample_command_continues_music(models: Models, run: Run, tmp_path: Path) -> None:
    model, state = models("midi", "music"), tmp_path / "s"
    run("sample", model, "-l", 2, "-o", tmp_path / "a.mid", "--state-out", state)
    (record,) = run("sample", model, "-l", 3, "-o", tmp_path / "b.mid", "--state-in", state, "--json").records
    assert (record["bars"], record["primer_bars"]) == (3, 0)
    assert (tmp_path / "b.mid").exists()


@pytest.fixture(scope="module")
def saved(models: Models) -> bytes:
    model = load_model(models("char"))
    return model.read("The old lamp").to_bytes(model.checkpoint.fingerprint)


def changed(data: bytes, about: dict[str, Any] | None = None, **tensors: Any) -> bytes:
    """The state with other tensors or metadata."""
    arrays, metadata = parse(data, "s")
    words = {**json.loads(metadata["about"]), **(about or {})}
    return dump({**arrays, **tensors}, {**metadata, "about": json.dumps(words)})


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "damaged or truncated"),
    "cut": (lambda data: data[:-5], "damaged or truncated"),
    "header": (lambda data: (1 << 50).to_bytes(8, "little") + data[8:], "header"),
    "text": (lambda data: b"Call me Ishmael. " * 9, "header"),
    "weights": (lambda data: dump({"a": np.zeros(2, dtype=np.float32)}, {"identity": "x"}), "not a saved state"),
    "nan": (lambda data: changed(data, cells=np.full((1, 2, 24), np.nan, np.float32)), "not finite"),
    "shape": (lambda data: changed(data, cells=np.zeros((2, 2, 24), np.float32)), "does not fit this network"),
    "type": (lambda data: changed(data, history=np.zeros(3, np.float32)), "not those of a state"),
    "extra": (lambda data: changed(data, more=np.zeros(3, np.float32)), "not those of a state"),
    "ids": (lambda data: changed(data, history=np.array([-1], np.int32)), "ids that are not in the vocabulary"),
    "last": (lambda data: changed(data, {"last": 100_000}), "ids that are not in the vocabulary"),
    "word": (lambda data: changed(data, {"last": "a"}), "wrong type"),
    "bool": (lambda data: changed(data, {"drawn": True}), "wrong type"),
    "tail": (lambda data: changed(data, {"tail": [1] * 9}), "out of range"),
    "drawn": (lambda data: changed(data, {"drawn": -1}), "out of range"),
    "unknown": (lambda data: changed(data, {"colour": 1}), "colour"),
    "music": (lambda data: changed(data, {"walk": {}}), "state of a grammar"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("command", ["sample", "score"])
def test_damaged_state_is_one_error_line(
    models: Models, run: Run, saved: bytes, tmp_path: Path, damage: str, command: str
) -> None:
    change, words = DAMAGE[damage]
    (tmp_path / "s").write_bytes(change(saved))
    text = tmp_path / "t"
    text.write_text("some text")
    result = run(command, models("char"), *[text] * (command == "score"), "--state-in", tmp_path / "s", status=2)
    assert words in result.err and result.err.count("\n") == 1 and not result.out


@given(st.integers(0, 600), st.binary(min_size=1, max_size=2))
@settings(max_examples=150)
def test_mutated_state_is_used_or_refused(models_: Models, saved_: bytes, position: int, bytes_: bytes) -> None:
    model = READERS.setdefault("char", load_model(models_("char")))
    data = saved_[:position] + bytes_ + saved_[position + len(bytes_) :]
    fingerprint = model.checkpoint.fingerprint
    try:
        state = from_bytes(data, "s", fingerprint, model.checkpoint.language_config)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(state.cells).all()


@pytest.fixture(scope="module")
def saved_(saved: bytes) -> bytes:
    """See `models_`."""
    return saved


def test_state_of_another_model_is_refused(models: Models, run: Run, saved: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(saved)
    other = models("char", cell="gru")
    assert "another model" in run("sample", other, "--state-in", tmp_path / "s", status=2).err
    trained_on = Path(shutil.copytree(models("char"), tmp_path / "on"))
    weights = dict(seqgen.load(trained_on).checkpoint.weights())
    weights["output_bias"] = weights["output_bias"] + np.float32(0.01)
    write_weights(trained_on / "model.safetensors", weights, seqgen.load(trained_on).info()["identity"])
    assert "before further training" in run("sample", trained_on, "--state-in", tmp_path / "s", status=2).err


def test_state_of_another_model_is_refused_in_memory(models: Models, tmp_path: Path) -> None:
    """One of another size would be read beyond its end, and one of the same size gives wrong text."""
    model, music = load_model(models("char")), load_model(models("midi", "music"))
    of_text, piece = model.read("The "), music.compose(length=1, keep=True)[0].saved
    for state, other in ((of_text, music), (of_text, load_model(models("byte"))), (piece, model)):
        uses = [lambda: other.score("ab", state=state), lambda: other.save_state(state, tmp_path / "s")]  # noqa: B023
        uses.append(lambda: (other.compose if other is music else other.sample)(state=state, length=1))  # noqa: B023
        for use in uses:
            with pytest.raises(ModelError, match="belongs to another model"):
                use()
    assert not (tmp_path / "s").exists()
    with pytest.raises(ModelError, match="does not fit"):
        model.score("ab", state=dataclasses.replace(of_text, cells=of_text.cells[..., :8]))


def test_state_of_the_same_model_loaded_again_is_used(models: Models) -> None:
    """Nothing is read from its folder to know a state as one's own."""
    model, again = load_model(models("char")), load_model(models("char"))
    state = model.read("The ")
    assert "fingerprint" not in vars(model.checkpoint)
    wanted = model.sample(state=state, length=9)
    assert "fingerprint" not in vars(model.checkpoint)
    assert again.sample(state=state, length=9) == wanted
    assert again.sample(state=pickle.loads(pickle.dumps(state)), length=9) == wanted


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--state-in", "missing"], "missing"),
        (["--state-in", "s", "--adaptive"], "--adaptive can't be used with --state-in"),
        (["--state-in", "s", "--label", "sun"], "--label is fixed"),
        (["--state-in", "-", "--prompt-file", "-"], "given twice"),
        (["--state-out", "new", "-n", 2], "--state-out saves the state of one text"),
        (["--state-out", "new", "--adaptive"], "--adaptive can't be used with --state-out"),
        (["--state-out", "."], "is a folder"),
        (["--state-out", "-"], "both go to standard output"),
        (["--state-out", "s/new"], "writable folder"),
    ],
    ids=str,
)
def test_state_flags_exclude_others(
    models: Models, run: Run, saved: bytes, tmp_path: Path, flags: list[Any], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s").write_bytes(saved)
    result = run("sample", models("char"), "-l", 5, *flags, status=2)
    assert words in result.err and result.err.count("\n") == 1 and not result.out
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_state_flags_of_music_exclude_others(models: Models, run: Run, tmp_path: Path) -> None:
    model, state = models("midi", "music"), tmp_path / "s"
    assert "--length 1 or more" in run("sample", model, "-l", 0, "--state-out", state, "--json", status=2).err
    run("sample", model, "-l", 1, "--state-out", state, "--json")
    primer = tmp_path / "p.mid"
    primer.write_bytes(b"MThd")
    assert "--primer" in run("sample", model, "--state-in", state, "--primer", primer, "--json", status=2).err
    with pytest.raises(UserError, match="--beam is for text"):
        load_model(model).compose(beam=2)
