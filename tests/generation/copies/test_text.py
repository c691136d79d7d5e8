"""What is copied from a corpus: suffix arrays, runs measured, and guards that let no more than so much."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqgen
from seqgen import native
from seqgen.api import copies as kept_copies
from seqgen.errors import ModelError, UserError
from seqgen.generation.copies.notes import NoteCopyGuard, NoteCopyIndex, Tracks, grammar_tracks
from seqgen.generation.copies.suffix_array import SuffixArray, build_suffix_array
from seqgen.generation.copies.text import TextCopyGuard, TextCopyIndex
from seqgen.generation.sampling.token_names import join_token_bytes, visible_token_bytes
from seqgen.music.events import EventVocabulary, VocabularyOptions
from seqgen.music.grammar import GrammarState, encode_piece
from seqgen.music.piece import Bar, Note, Piece, Track
from seqgen.tokenizers import Codec
from seqgen.tokenizers.characters import ByteCodec, CharCodec
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.tokenizers.subwords import SubwordCodec
from tests.helpers.kernels import library_by
from tests.helpers.running import Run, prose


@pytest.fixture(params=["compiled", "numpy"])
def means(request: pytest.FixtureRequest) -> Iterator[str]:
    """With the kernels, and without."""
    if request.param == "compiled" and native.library() is None:
        pytest.skip("no kernels")
    with library_by("SEQGEN_NATIVE", "1" if request.param == "compiled" else "0"):
        yield request.param


# ---- suffix arrays ----


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4), st.booleans())
@settings(max_examples=200)
def test_build_suffix_array_sorts_all_suffixes(symbols: list[int], repeats: int, as_bytes: bool) -> None:
    """Repeated too: runs that are alike are what the sorting is for."""
    array = np.array(symbols * repeats, dtype=np.uint8 if as_bytes else np.int64)
    wanted = sorted(range(len(array)), key=lambda place: array[place:].tolist())
    assert build_suffix_array(array).tolist() == wanted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqgen.generation.copies.suffix_array.library", lambda: None)
        assert build_suffix_array(array).tolist() == wanted


@given(st.binary(max_size=30), st.binary(max_size=4))
def test_suffix_find_equals_exhaustive_search(text: bytes, pattern: bytes) -> None:
    symbols = np.frombuffer(text, dtype=np.uint8)
    wanted = [place for place in range(len(text)) if text.startswith(pattern, place)]
    found = [SuffixArray(symbols, build_suffix_array(symbols))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqgen.generation.copies.suffix_array.library", lambda: None)
        found.append(SuffixArray(symbols, build_suffix_array(symbols)))
    for suffixes in found:
        low, high = suffixes.find(pattern)
        assert sorted(suffixes.order[low:high].tolist()) == wanted
        assert suffixes.occurs(pattern) == bool(wanted)


def test_suffix_find_integers_equal_bytes() -> None:
    symbols = np.array([5, 1 << 40, 5, -3, 5, 1 << 40], dtype=np.int64)
    suffixes = SuffixArray(symbols, build_suffix_array(symbols))
    low, high = suffixes.find([5, 1 << 40])
    assert sorted(suffixes.order[low:high].tolist()) == [0, 4]
    assert not suffixes.occurs([-3, 1 << 40])


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 3], [0, -1, 2], [[0, 1, 2]]], ids=str)
def test_suffix_array_invalid_order_raises(order: list[Any]) -> None:
    with pytest.raises(ModelError, match="suffix array"):
        SuffixArray(np.frombuffer(b"abc", dtype=np.uint8), np.array(order, dtype=np.int32))


# ---- text ----

TALE = "the old lamp on the quay was lit by the boy. 灯塔的灯亮了，男孩回家了。 naïve café 😀 " * 2 + prose(30)
DOCUMENTS = [TALE.encode(), b"\xff\xe4\xb8bad bytes \x80\x80 here", "another 灯塔".encode()]
CODECS: dict[str, Codec] = {
    "char": CharCodec.fit(DOCUMENTS), "byte": ByteCodec(), "subword": SubwordCodec.fit(DOCUMENTS, vocab_size=440),
}  # fmt: skip


def is_copied(run: str) -> bool:
    data = run.encode("utf-8", "surrogateescape")
    return any(data in document for document in DOCUMENTS)


def brute_longest(text: str) -> int:
    runs = (text[a:b] for a in range(len(text)) for b in range(a + 1, len(text) + 1))
    return max((len(run) for run in runs if is_copied(run)), default=0)


@pytest.mark.parametrize(
    "text",
    ["", "lamp", "Zlamp on the moon", "灯塔的月亮", "x灯塔", "bad bytes \udc80", "hereanother", "\udcff\udce4", "Q"],
)  # fmt: skip
def test_text_longest_match_counts_characters(text: str) -> None:
    assert TextCopyIndex.build(DOCUMENTS).longest_match(text) == brute_longest(text)


@given(st.lists(st.sampled_from(["the ", "old ", "lamp", "灯", "塔", "的", "é", "\udc80", "\udce4", "q"]), max_size=7))
@settings(max_examples=100)
def test_text_longest_match_equals_exhaustive_search(parts: list[str]) -> None:
    text = "".join(parts)
    assert COPIES.longest_match(text) == brute_longest(text)


COPIES = TextCopyIndex.build(DOCUMENTS)


def test_text_longest_match_stays_within_a_document() -> None:
    assert TextCopyIndex.build([b"ab", b"cd"]).longest_match("bc") == 1
    every = bytes(range(256))  # then there is no byte to stand between
    assert TextCopyIndex.build([every, b"cd"]).longest_match("cd") == 2


def wander(
    guard: TextCopyGuard, codec: Codec, wish: list[int], steps: int, chance: random.Random, loose: float
) -> tuple[str, int]:
    """Writes what is wished for wherever it may come, and otherwise something by chance; the text, and how often the
    wish was refused."""
    decoder, shown, refused = codec.decoder(), "", 0
    for step in range(steps):
        mask = guard.mask()
        assert mask.dtype == bool and mask.shape == (codec.vocab_size,)
        token = wish[step % len(wish)]
        if not mask[token] or chance.random() < loose:
            refused += not mask[token]
            token = chance.choice([one for one in np.flatnonzero(mask).tolist() if codec.pieces()[one] is not None])
        assert guard.push(token)
        shown += decoder.push(token).decode("utf-8", "surrogateescape")
    return shown, refused


@pytest.mark.parametrize("most", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("kind", CODECS)
def test_text_copy_guard_limits_every_run(means: str, kind: str, most: int) -> None:
    codec, chance = CODECS[kind], random.Random(most)
    base = TextCopyGuard(TextCopyIndex.build(DOCUMENTS), codec, most)
    refusals = 0
    for number in range(4):
        start = chance.randrange(len(TALE) // 2)
        prompt = TALE[start : start + (0, 3, 30, 60)[number]]
        wish = codec.encode(TALE[start + len(prompt) :][:200].encode()).tolist()
        text, refused = wander(base.after(prompt.encode()), codec, wish, 60, chance, 0.05 * number)
        refusals += refused
        whole = prompt + text
        for end in range(max(len(prompt), most) + 1, len(whole) + 1):
            assert not is_copied(whole[end - most - 1 : end]), (number, whole[end - most - 1 : end])
    assert refusals
    assert COPIES.longest_match(text) <= most


def test_text_copy_guard_allows_the_longest_run() -> None:
    """Nothing is forbidden too early: the number-th character still comes."""
    codec = CODECS["char"]
    guard = TextCopyGuard(COPIES, codec, 7).after(b"")
    for token in codec.encode(TALE[10:17].encode()).tolist():
        assert guard.mask()[token]
        guard.push(token)
    assert not guard.mask()[codec.encode(TALE[17:18].encode())[0]]


def test_text_copy_guard_excludes_tokens_that_copy_too_much() -> None:
    codec = CODECS["subword"]
    pieces = [len(piece) if isinstance(piece, str) else 0 for piece in codec.pieces()]
    long = int(np.argmax(pieces))
    assert pieces[long] > 3
    assert not TextCopyGuard(COPIES, codec, 3).mask()[long]
    assert TextCopyGuard(COPIES, codec, pieces[long]).mask()[long]


def test_text_copy_guard_copies_are_independent() -> None:
    codec = CODECS["byte"]
    one = TextCopyGuard(COPIES, codec, 4).after("灯塔的".encode() + b"\xe7\x81")
    other = one.copy()
    one.push(0xAF)
    assert not np.array_equal(one.mask(), other.mask())
    other.push(0xAF)
    np.testing.assert_array_equal(one.mask(), other.mask())


def test_text_copy_guard_without_any_token_raises() -> None:
    class Two:
        """Writes nothing but these two letters."""

        end, vocab_size = 2, 3

        def pieces(self) -> list[str | int | None]:
            return ["a", "b", None]

    copies = TextCopyIndex.build([b"aa", b"ab", b"bb"])
    TextCopyGuard(copies, Two(), 1).after(b"b").mask()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--max-copy 1 excludes every token"):
        TextCopyGuard(copies, Two(), 1).after(b"a").mask()  # type: ignore[arg-type]


def test_text_copy_guard_reads_dialogue_as_transcript() -> None:
    codec = DialogueCodec(CODECS["char"])
    ids = codec.encode_conversation([(0, b"the old lamp"), (1, b"was lit")])
    assert join_token_bytes(ids, visible_token_bytes(codec)) == b"\nA: the old lamp\nB: was lit"
    copies = TextCopyIndex.build([join_token_bytes(ids, visible_token_bytes(codec))])
    assert copies.longest_match("A: the old lamp\nB: was not") == len("A: the old lamp\nB: was ")
    guard = TextCopyGuard(copies, codec, 12).after(join_token_bytes(ids[:-7], visible_token_bytes(codec)))
    assert not guard.mask()[1 + int(codec.encode(b"w")[0]) - 1]


# ---- music ----

VOCABULARY = EventVocabulary(VocabularyOptions(grid=4, form=False, key=True))


def tune(pitches: list[int], lengths: list[int], drums: bool = False) -> Any:
    starts = np.cumsum([0, *lengths])
    notes = tuple(
        Note(int(start), 0, pitch, int(start) + length, 64)
        for start, pitch, length in zip(starts, pitches, lengths, strict=False)
    )
    bars = tuple(Bar(16 * number, 16, 4, 4) for number in range(-(-int(starts[-1]) // 16)))
    piece = Piece(4, (Track(None if drums else 0),), notes, bars, ((0, 120.0),))
    return np.array(encode_piece(piece, VOCABULARY))


def tracks_of(ids: Any) -> Tracks:
    grammar = GrammarState(VOCABULARY)
    for token in ids.tolist():
        assert grammar.push(token)
    return grammar_tracks(grammar)


SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


def test_note_copy_index_of_ids_finds_runs_in_any_key() -> None:
    copies = NoteCopyIndex.build([tune(SCALE, [2] * 8), tune([36, 38] * 4, [4] * 8, drums=True)], VOCABULARY)
    assert copies.longest_match(tracks_of(tune([p + 5 for p in SCALE], [2] * 8))) == 8
    assert copies.longest_match(tracks_of(tune(SCALE, [4] * 8))) == 0  # other times
    assert copies.longest_match(tracks_of(tune([50, *SCALE[:4], 50], [2] * 6))) == 4
    assert copies.longest_match(tracks_of(tune([36, 38, 36], [4] * 3, drums=True))) == 3
    assert (
        copies.longest_match(tracks_of(tune([40, 42, 40], [4] * 3, drums=True))) == 0
    )  # of drums another one is no other key


@pytest.mark.parametrize("most", [1, 2, 4])
def test_note_copy_guard_limits_every_run(most: int) -> None:
    pieces = [tune(SCALE, [2] * 8), tune(SCALE[::-1], [2] * 8), tune([36, 38, 42] * 3, [2] * 9, drums=True)]
    copies = NoteCopyIndex.build(pieces, VOCABULARY)
    for seed in range(6):
        chance, walk = np.random.default_rng(seed), GrammarState(VOCABULARY)
        walk.forbid_notes(NoteCopyGuard(copies, most))
        for wish in np.tile(pieces[seed % 3], 4).tolist():
            if walk.allows(wish):
                walk.push(wish)
            else:
                may = np.flatnonzero(walk.mask())
                assert len(may)
                walk.push(int(chance.choice(may)))
            if walk.ended:
                break
        assert len(walk.notes) > 4
        assert copies.longest_match(grammar_tracks(walk)) <= most


# ---- what a model keeps ----


@pytest.fixture(scope="module")
def keeper(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that keeps its corpus."""
    folder = tmp_path_factory.mktemp("keeper") / "model"
    seqgen.train(str(text_file), folder, steps=40, rnn_size=24, batch_size=8, seq_length=32, threads=1,
                 precision="fp32", keep_corpus=True)  # fmt: skip
    return folder


def test_keep_corpus_model_measures_and_limits_copies(keeper: Path, text_file: Path, run: Run) -> None:
    text = text_file.read_text()
    (record,) = run("sample", keeper, "-l", 120, "-t", 0.3, "--json").records
    most = max(b - a for a in range(120) for b in range(a + 1, 121) if record["text"][a:b] in text)
    assert record["longest_copy"] == most > 5
    for number in (4, most - 1):
        (bounded,) = run("sample", keeper, "-l", 120, "-t", 0.3, "--json", "--max-copy", number).records
        assert bounded["longest_copy"] <= number
        assert bounded["text"] != record["text"]
    assert run("sample", keeper, "-l", 120, "-t", 0.3, "--max-copy", 120).text == record["text"]
    assert "corpus kept" in run("info", keeper).out.decode()
    assert run("info", keeper, "--json").json["corpus_bytes"] > 5 * len(text)


def test_max_copy_counts_the_prompt(keeper: Path, text_file: Path, run: Run) -> None:
    text = text_file.read_text()
    shown = run("sample", keeper, "-p", text[100:130], "-l", 40, "-t", 0, "--max-copy", 20).text
    assert all(shown[end - 21 : end] not in text for end in range(31, 71))


def test_max_copy_with_grammar_holds_both(keeper: Path, text_file: Path, run: Run) -> None:
    how = ["-l", 60, "-t", 0.4, "--grammar", "([a-z]+ ){5}[a-z]+[.]", "--ban", "boy", "--max-copy", 6, "--json"]
    (record,) = run("sample", keeper, *how).records
    assert re.fullmatch("([a-z]+ ){5}[a-z]+[.]", record["text"]) and "boy" not in record["text"]
    assert record["longest_copy"] <= 6
    impossible = ["-l", 60, "--grammar", text_file.read_text()[:40].replace(".", "[.]"), "--max-copy", 6]
    assert "--max-copy excludes every token that --grammar" in run("sample", keeper, *impossible, status=2).err


def test_max_copy_builds_the_index_from_the_sources(model_folder: Path, tmp_path: Path, run: Run) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    assert "longest_copy" not in run("sample", model, "-l", 20, "--json").records[0]
    said = run("sample", model, "-l", 80, "-t", 0.2, "--max-copy", 9)
    assert "indexing the training corpus" in said.err
    assert (model / "corpus.safetensors").exists()
    assert run("sample", model, "-l", 80, "-t", 0.2, "--max-copy", 9) == type(said)(0, said.out, "")
    assert run("sample", model, "-l", 20, "--json").records[0]["longest_copy"] > 0


def test_max_copy_without_sources_raises(model_folder: Path, tmp_path: Path, run: Run) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    config["data"]["sources"][0]["name"] = str(tmp_path / "gone.txt")
    config["data"]["cache"] = "gone"
    (model / "config.json").write_text(json.dumps(config))
    for name in ("gone.txt", None):
        if name:
            (tmp_path / name).write_text("another text by now")
        assert "--keep-corpus" in run("sample", model, "--max-copy", 9, status=2).err


@pytest.mark.parametrize("damage", ["cut", "other", "wild", "text"])
def test_copy_index_damaged_file_is_one_error_line(keeper: Path, tmp_path: Path, run: Run, damage: str) -> None:
    model = Path(shutil.copytree(keeper, tmp_path / "model"))
    file = model / "corpus.safetensors"
    loaded = seqgen.load(model).checkpoint
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "other":
        kept_copies.save_copy_index(model, COPIES, {"data": {"fingerprint": "of others"}})
    elif damage == "wild":
        wild = TextCopyIndex(SuffixArray(np.zeros(3, dtype=np.uint8), np.arange(3, dtype=np.int32)))
        wild.suffixes.order = np.array([0, 1, 99], dtype=np.int32)
        kept_copies.save_copy_index(model, wild, loaded.config)
    else:
        kept_copies.save_copy_index(model, NoteCopyIndex.build([tune(SCALE, [2] * 8)], VOCABULARY), loaded.config)
    for flags in (["--json"], ["--max-copy", 5]):
        said = run("sample", model, "-l", 5, *flags, status=2).err
        assert "corpus" in said and said.count("\n") == 1


def test_resume_keeps_the_copy_index(model_folder: Path, text_file: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    seqgen.train([], model, resume=True, steps=62, threads=1, keep_corpus=True)
    load_copy_index = kept_copies.load_copy_index(seqgen.load(model).checkpoint)
    assert isinstance(load_copy_index, TextCopyIndex)
    assert load_copy_index.longest_match(text_file.read_text()[40:160]) == 120


def test_keep_corpus_needs_a_language_model(tmp_path: Path, run: Run) -> None:
    table = tmp_path / "a.csv"
    table.write_text("text,label\n" + "".join(f"it is {w},{w}\n" for w in ("good", "bad") * 20))
    said = run("train", table, "--task", "classify", "-o", tmp_path / "m", "--steps", 1, "--keep-corpus", status=2).err
    assert "--generative" in said
