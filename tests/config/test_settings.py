"""Settings: every one has a default, a help text and bounds, and what is wrong is told by the name of its flag."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqgen
from seqgen.config import (
    TOKENIZER_NAMES,
    NetworkConfig,
    SampleOptions,
    SearchOptions,
    TrainOptions,
    check,
    flag_name,
    make_options,
    parse_duration,
    setting,
)
from seqgen.errors import UserError
from seqgen.tokenizers import TOKENIZERS

OPTIONS = (TrainOptions, SampleOptions, SearchOptions)
FIELDS = [pytest.param(kind, item, id=item.name) for kind in OPTIONS for item in dataclasses.fields(kind)]


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    assert not message.endswith(".")
    return message


@pytest.mark.parametrize(("kind", "item"), FIELDS)
def test_setting_has_a_help_text(kind: type, item: dataclasses.Field) -> None:
    text = item.metadata["help"]
    assert len(text) > 10
    assert text.endswith((".", "]."))
    assert text[0].isupper()


@pytest.mark.parametrize(("kind", "item"), FIELDS)
def test_setting_default_is_within_bounds(kind: type, item: dataclasses.Field) -> None:
    assert check(kind()) == kind()
    assert item.default is not dataclasses.MISSING, "a setting without a default has to be given every time"


def test_setting_flags_are_unique() -> None:
    for kind in OPTIONS:
        flags = [flag for f in dataclasses.fields(kind) for flag in (flag_name(f.name), *f.metadata["flags"])]
        assert len(flags) == len(set(flags))
        assert all(flag.startswith("-") for flag in flags)


def test_setting_choices_are_the_names_of_the_tables() -> None:
    assert set(TOKENIZERS) == {*TOKENIZER_NAMES, "midi", "dialogue", "labelled", "series"}


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainOptions().seed = 1  # type: ignore[misc]


def test_setting_mutable_default_is_refused() -> None:
    with pytest.raises(TypeError):
        setting([], "A list is shared by all who use the default.")


@pytest.mark.parametrize(
    ("name", "flag"), [("rnn_size", "--rnn-size"), ("seed", "--seed"), ("top_k", "--top-k"), ("a_b_c", "--a-b-c")]
)
def test_flag_name_replaces_underscores(name: str, flag: str) -> None:
    assert flag_name(name) == flag


BAD_TRAIN = [
    ("tokenizer", "word"), ("tokenizer", ""),
    ("vocab_size", 299), ("vocab_size", 0), ("vocab_size", -1), ("vocab_size", (1 << 20) + 1),
    ("cell", "transformer"), ("cell", "LSTM"), ("activation", "gelu"),
    ("rnn_size", 0), ("rnn_size", -5), ("rnn_size", (1 << 16) + 1),
    ("num_layers", 0), ("num_layers", 65), ("embedding_size", 0), ("embedding_size", 1 << 17),
    ("dropout", -0.01), ("dropout", 0.96), ("dropout", math.nan), ("dropout", math.inf),
    ("weight_drop", -1), ("weight_drop", 1.0), ("blank", -0.1), ("blank", 0.95), ("averaging", -1), ("averaging", 2e6),
    ("seq_length", 1), ("seq_length", 0), ("seq_length", (1 << 20) + 1),
    ("batch_size", 0), ("batch_size", -8),
    ("learning_rate", 0), ("learning_rate", -0.1), ("learning_rate", 10.5), ("learning_rate", math.nan),
    ("learning_rate", math.inf), ("learning_rate", -math.inf),
    ("weight_decay", -0.1), ("weight_decay", 11), ("grad_clip", 0), ("grad_clip", -1), ("grad_clip", math.nan),
    ("warmup", -0.1), ("warmup", 0.91),
    ("budget", "soon"), ("budget", "0s"), ("budget", ""), ("budget", "-5m"),
    ("members", 0), ("members", 17),
    ("epochs", 0), ("epochs", -1), ("epochs", math.inf), ("steps", 0), ("steps", -3), ("patience", -1),
    ("grid", 0), ("grid", 49), ("velocity_bins", 0), ("velocity_bins", 128), ("tracks", "drums"),
    ("pitch_range", "90-20"), ("pitch_range", "0-128"), ("pitch_range", "C4"), ("note_order", "up"),
    ("transpose", -1), ("transpose", 25), ("stretch", -1), ("stretch", 2), ("stretch", 51),
    ("horizon", 0), ("horizon", (1 << 16) + 1), ("look_back", 0), ("look_back", (1 << 20) + 1),
    ("segment_length", 0), ("segment_length", (1 << 16) + 1), ("scaling", "robust"), ("normalisation", "rank"),
    ("levels", "0"), ("levels", "100"), ("split_rows", "all"),
    ("direction", "up"), ("ngrams", -1), ("ngrams", 6), ("label_smoothing", -0.1), ("label_smoothing", 0.6),
    ("pretrain", -0.1), ("pretrain", 0.95),
    ("layer_decay", 0.9), ("layer_decay", 101), ("unfreeze", -0.1), ("unfreeze", 0.91),
    ("val_fraction", -0.1), ("val_fraction", 0.91), ("val_fraction", math.nan),
    ("seed", -1), ("seed", 1 << 63), ("device", "tpu"), ("precision", "fp16"), ("threads", 0), ("threads", 4097),
]  # fmt: skip

BAD_SAMPLE = [
    ("context_cache", -1), ("context_cache", (1 << 14) + 1),
    ("length", -1), ("length", (1 << 40) + 1), ("repetition_penalty", 0), ("repetition_penalty", -1),
    ("frequency_penalty", -101), ("frequency_penalty", 101), ("presence_penalty", -101), ("presence_penalty", 101),
    ("repetition_window", 0), ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf),
    ("top_k", -1), ("top_p", 0), ("top_p", 1.01), ("min_p", -0.1), ("min_p", 1.1),
    ("typical_p", 0), ("typical_p", 2), ("dry_multiplier", -1), ("dry_multiplier", 101), ("dry_base", 0.9),
    ("dry_base", 101), ("dry_allowed_length", 0), ("dry_allowed_length", (1 << 20) + 1), ("dry_window", 0),
    ("dry_window", (1 << 20) + 1), ("dynatemp_range", -0.1), ("dynatemp_range", 101), ("dynatemp_exponent", 0),
    ("dynatemp_exponent", 101), ("xtc_probability", -0.1), ("xtc_probability", 1.1), ("xtc_threshold", 0),
    ("xtc_threshold", 1.1), ("mirostat_tau", -1), ("mirostat_tau", 101), ("mirostat_eta", 0), ("mirostat_eta", 11),
    ("ban", ("",)), ("ban", ("a", "")), ("logit_bias", ("x",)), ("logit_bias", ("=1",)), ("logit_bias", ("x=",)),
    ("logit_bias", ("x=y",)), ("logit_bias", ("x=nan",)), ("logit_bias", ("x=101",)), ("logit_bias", ("x=-inf",)),
    ("temperature_of", ("1.2",)), ("temperature_of", ("note=-1",)), ("temperature_of", ("note=inf",)),
    ("stop", ("",)), ("stop", ("a", "")), ("seed", -1), ("seed", 1 << 63),
]  # fmt: skip

BAD_SEARCH = [
    ("best_of", 0), ("best_of", (1 << 16) + 1), ("beam", -1), ("beam", 1025), ("max_copy", 0), ("max_copy", 1025),
]  # fmt: skip

BAD = [
    (kind, *bad)
    for kind, all_ in ((TrainOptions, BAD_TRAIN), (SampleOptions, BAD_SAMPLE), (SearchOptions, BAD_SEARCH))
    for bad in all_
]


@pytest.mark.parametrize(("kind", "name", "value"), BAD)
def test_check_value_out_of_bounds_names_the_flag(kind: type, name: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        make_options(kind, {name: value})
    assert flag_name(name) in one_line(error)


def test_check_table_covers_every_bound() -> None:
    bad = {(kind, name) for kind, name, _ in BAD}
    for kind in OPTIONS:
        for item in dataclasses.fields(kind):
            rule = item.metadata
            if rule["choices"] or any(rule[bound] is not None for bound in ("minimum", "maximum", "exclusive_minimum")):
                assert (kind, item.name) in bad, f"{flag_name(item.name)} has a bound that no test tries"


@pytest.mark.parametrize(("kind", "item"), FIELDS)
def test_check_bounds_are_inclusive(kind: type, item: dataclasses.Field) -> None:
    for bound in ("minimum", "maximum"):
        value = item.metadata[bound]
        if value is not None:
            assert getattr(make_options(kind, {item.name: value}), item.name) == value


@pytest.mark.parametrize("value", [10**30, 10**400, -(10**400)], ids=["large", "larger", "smaller"])
def test_check_huge_integer_is_out_of_bounds(value: int) -> None:
    with pytest.raises(UserError) as error:
        make_options(TrainOptions, {"seed": value})
    assert "--seed" in one_line(error)


# From Python any type may come; the command line can't give these.
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rnn_size", "64"), ("rnn_size", 64.5), ("batch_size", 2.5), ("steps", 10.5), ("seed", 1.5), ("budget", 10),
        ("learning_rate", "0.1"), ("cell", 3), ("dropout", [0.1]),
    ],
)  # fmt: skip
def test_check_value_of_another_type_names_the_flag(name: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        make_options(TrainOptions, {name: value})
    assert flag_name(name) in one_line(error)


@pytest.mark.parametrize("kind", OPTIONS)
def test_make_options_unknown_name_lists_the_known(kind: type) -> None:
    with pytest.raises(UserError) as error:
        make_options(kind, {"hidden_sise": 3})
    message = one_line(error)
    assert "hidden_sise" in message
    assert dataclasses.fields(kind)[-1].name in message


@pytest.mark.parametrize("given", ["ab", ["ab"], ("ab",)], ids=repr)
def test_make_options_repeatable_option_takes_one_text_or_a_list(given: Any) -> None:
    assert make_options(SampleOptions, {"stop": given}).stop == ("ab",)
    assert make_options(TrainOptions, {"target": given}).target == ("ab",)


@pytest.mark.parametrize("given", [3, None, [3], {"a": 1}, ("a", None)], ids=repr)
def test_make_options_repeatable_option_of_no_text_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="--stop must be a text or a list of texts, not "):
        make_options(SampleOptions, {"stop": given})


def test_python_interface_unknown_keyword_is_an_error(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="stepz"):
        seqgen.train("x.txt", tmp_path / "m", stepz=3)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"budget": "1m", "epochs": 2}, ("--budget", "--epochs")),
        ({"budget": "1m", "steps": 2}, ("--budget", "--steps")),
        ({"epochs": 1.5, "steps": 2}, ("--epochs", "--steps")),
        ({"budget": "1m", "epochs": 1.5, "steps": 2}, ("--budget", "--epochs", "--steps")),
        ({"vocab_size": 500, "tokenizer": "char"}, ("--vocab-size", "subword")),
        ({"vocab_size": 500, "tokenizer": "byte"}, ("--vocab-size", "subword")),
        ({"activation": "relu"}, ("--activation", "--cell rnn")),
        ({"activation": "relu", "cell": "gru"}, ("--activation", "--cell rnn")),
    ],
)
def test_make_options_contradiction_names_both(options: dict[str, Any], flags: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        make_options(TrainOptions, options)
    message = one_line(error)
    assert all(flag in message for flag in flags)


def test_tokenizer_for_vocab_size_alone_is_subword() -> None:
    assert TrainOptions().tokenizer_for("text") == "char"
    assert TrainOptions(vocab_size=500).tokenizer_for("text") == "subword"
    assert TrainOptions(tokenizer="subword", vocab_size=500).tokenizer_for("text") == "subword"
    assert TrainOptions(tokenizer="byte").tokenizer_for("text") == "byte"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), ("45", 45), ("0.5", 0.5), (".5m", 30),
        ("3.s", 3), (" 10 m ", 600), ("007s", 7),
    ],
)  # fmt: skip
def test_parse_duration_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "m10", "-5s", "+5s", "10 minutes", "1h30m", "ten", "1e3", "1,5h", "0", "0s", "0.0h", "nan", "inf",
     ".", "5 0s", "10M", "5w", "10m\x00", "9" * 400, "9" * 400 + "d"],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_parse_duration_invalid_text_is_an_error(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_duration(text)
    assert "--budget" in one_line(error)


@given(st.integers(1, 1000), st.sampled_from(["", "s", "m", "h", "d"]))
def test_parse_duration_any_integer_with_any_unit(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == number * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


@given(st.text())
def test_parse_duration_any_text_is_parsed_or_a_user_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except UserError:
        return
    assert 0 < seconds < math.inf


@given(st.text(alphabet="0123456789. smhd", max_size=8))
def test_parse_duration_similar_text_is_parsed_or_a_user_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except UserError:
        return
    assert 0 < seconds < math.inf


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": 0}, {"vocab_size": -1}, {"vocab_size": 1.5}, {"vocab_size": "9"}, {"vocab_size": None},
        {"vocab_size": True}, {"rnn_size": 0}, {"rnn_size": (1 << 24) + 1}, {"num_layers": 0},
        {"embedding_size": -2}, {"cell": "x"}, {"cell": None}, {"activation": "x"},
    ],
)  # fmt: skip
def test_network_config_impossible_values_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        NetworkConfig(**{"vocab_size": 10, **wrong})
