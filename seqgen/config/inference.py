"""Options of the commands that use a model: sample, chat, classify, forecast, evaluate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from seqgen.config.settings import field_types, flag_name, parse_levels, parse_picture, setting
from seqgen.errors import UserError
from seqgen.specs.filters import Option, filter_options
from seqgen.specs.registry import resolve
from seqgen.specs.tasks import TASKS

MAX_CONTEXT_CACHE = 1 << 14  # tokens: the files of states with a larger one would be hundreds of megabytes

# As `tests/benchmarks/replies.py` reads replies: cooler ones are alike, warmer ones are beside the point more often.
CHAT_TEMPERATURE, CHAT_CANDIDATES = 0.85, 8


class _SampleMethods:
    if TYPE_CHECKING:  # the fields are made from tables
        __dataclass_fields__: ClassVar[dict[str, Any]]

        def __init__(self, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self) -> None:
        for name in ("stop", "ban"):
            if any(not text for text in getattr(self, name)):
                raise UserError(f"{flag_name(name)} must not be empty")
        for option in filter_options():
            if option.parse is not None:
                for text in getattr(self, option.name):
                    resolve(option.parse)(text)

    def length_for(self, task: str) -> int:
        """The length asked for, or the default of the task."""
        length: int | None = self.length
        return length if length is not None else TASKS.find(task).default_length


def context_cache_setting(effect: str) -> Any:
    """The option --context-cache; `effect`: what it does, up to "of the latest N tokens"."""
    return setting(
        0, f"{effect} tokens, which predicts what followed in similar contexts; 0 for none.", metavar="N", minimum=0,
        maximum=MAX_CONTEXT_CACHE, group="context_cache")  # fmt: skip


@dataclass(frozen=True)
class _BeforeFilters:
    length: int | None = setting(
        None, "Length without the prompt: characters of text or bars of music [default: 500, or 16 bars].", "-l",
        minimum=0, maximum=1 << 40, panel="Sampling", basic=True)  # fmt: skip
    ban: tuple[str, ...] = setting((), "Text that is never written (repeatable).", metavar="TEXT", group="text_output")
    grammar: str | None = setting(
        None, "Regular expression that the whole sample must match.", metavar="REGEX", group="text_output"
    )
    context_cache: int = context_cache_setting("Mix the prediction with that of a cache of the latest N")


@dataclass(frozen=True)
class _AfterFilters:
    stop: tuple[str, ...] = setting(
        (), "Stop string: the sample ends before this text (repeatable).", metavar="TEXT", panel="Sampling", basic=True
    )
    seed: int = setting(
        0, "Random seed; sample i uses the random stream (seed, i).", minimum=0, maximum=(1 << 63) - 1,
        panel="Sampling", basic=True)  # fmt: skip


def _filter_field(option: Option) -> tuple[str, Any, Any]:
    made = setting(
        option.default, option.help, *option.flags, minimum=option.minimum, maximum=option.maximum,
        exclusive_minimum=option.exclusive_minimum, metavar=option.metavar, group=option.group,
        panel=option.panel, basic=option.basic,
    )  # fmt: skip
    return option.name, option.type, made


def _fields_of(cls: type) -> list[tuple[str, Any, Any]]:
    hints = field_types(cls)
    return [
        (item.name, hints[item.name], dataclasses.field(default=item.default, metadata=item.metadata))
        for item in dataclasses.fields(cls)
    ]


if TYPE_CHECKING:

    class SampleOptions(_SampleMethods):
        """Options of sampling. The filters' are rows of a table (`specs.filters`)."""

else:
    SampleOptions = dataclasses.make_dataclass(
        "SampleOptions",
        [*_fields_of(_BeforeFilters), *map(_filter_field, filter_options()), *_fields_of(_AfterFilters)],
        bases=(_SampleMethods,),
        frozen=True,
    )
    SampleOptions.__module__, SampleOptions.__doc__ = __name__, "Options of sampling."


if TYPE_CHECKING:

    class ChatOptions(SampleOptions):
        """Options of sampling replies."""

else:
    _TEMPERATURE, _SEED = (SampleOptions.__dataclass_fields__[name].metadata for name in ("temperature", "seed"))
    ChatOptions = dataclasses.make_dataclass(
        "ChatOptions",
        [
            ("temperature", float, dataclasses.field(default=CHAT_TEMPERATURE, metadata=_TEMPERATURE)),
            ("seed", int, dataclasses.field(default=0, metadata={**_SEED, "help": "Random seed."})),
        ],
        bases=(SampleOptions,),
        frozen=True,
    )
    ChatOptions.__module__, ChatOptions.__doc__ = __name__, "Options of sampling replies."


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search for samples."""

    best_of: int = setting(
        1, "Candidates to draw for each sample, of which the likeliest per character (or musical event) is kept.",
        minimum=1, maximum=1 << 16, panel="Search")  # fmt: skip
    beam: int = setting(
        0, "Beam width of a beam search instead of random sampling; 0 for none.", minimum=0, maximum=1024,
        group="text_output", panel="Search")  # fmt: skip
    max_copy: int | None = setting(
        None, "Longest run of characters (or notes of music) to copy from the training corpus [default: no limit].",
        minimum=1, maximum=1024, panel="Search")  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.beam, int) and isinstance(self.best_of, int) and self.beam and self.best_of != 1:
            raise UserError("give --beam or --best-of, not both: beam search draws no random samples")


FORECAST_STYLES = ("wide", "nixtla")  # of tables of forecasts


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    pieces: int = setting(
        50, "Pieces to generate and compare with the test set; 0 for none.", minimum=0, maximum=10_000,
        group="music")  # fmt: skip
    length: int = setting(16, "Length of a generated piece in bars.", minimum=1, maximum=1000, group="music")
    temperature: float | None = setting(
        None, f"Temperature of generated pieces [default: 1] and replies [default: {CHAT_TEMPERATURE:g}].", "-t",
        minimum=0, group="generated")  # fmt: skip
    seed: int = setting(0, "Random seed.", minimum=0, maximum=(1 << 63) - 1, group="generated")
    replies: int = setting(
        200, "Replies to generate and compare with the test set's.", minimum=0, maximum=100_000,
        group="replies")  # fmt: skip
    candidates: int = setting(
        CHAT_CANDIDATES,
        "Candidates to sample for each reply.",
        minimum=1,
        maximum=256,
        group="replies",
        panel="Dialogue",
    )
    mutual: float | None = setting(
        None, "Rank candidates by log p(reply | history) − X · log p(reply) [default: by the model's learnt ranking; "
        "1 without one].", metavar="X", minimum=0, maximum=1, group="replies",
        panel="Dialogue")  # fmt: skip
    errors: int = setting(0, "Number of most confident mistakes to list.", minimum=0, maximum=100_000, group="labels")
    encoding: str | None = setting(None, "Encoding of text files [default: recognised].", metavar="NAME")
    adaptive: bool = setting(
        False, "Also measure with weights updated along the text (dynamic evaluation).", group="adaptive"
    )
    context_cache: int = context_cache_setting("Also measure with a cache of the latest N")
    plot: str | None = setting(
        None, "PNG file: features of generated and reference pieces, or the confusion matrix.", metavar="FILE.png",
        group="plot")  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.plot, str):
            object.__setattr__(self, "plot", parse_picture(self.plot))
        if self.plot is not None and not self.pieces:
            raise UserError("--plot draws generated pieces, and --pieces 0 asks for none")


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify`."""

    top_k: int = setting(1, "Labels to print for a text, the most probable first.", "-k", minimum=1)
    min_confidence: float = setting(0.0, "Probability below which the label is `unknown`.", minimum=0, maximum=1)
    format: str = setting(
        "text", "Output format; csv: the table itself, with the columns label and probability.",
        choices=("text", "jsonl", "fasttext", "csv"))  # fmt: skip
    explain: bool = setting(
        False, "Say which sentences made the label: what its log-odds lose when each is left out (text and jsonl)."
    )
    text_column: str | None = setting(
        None, "Column of a table, or key of JSON, with the text [default: that of the training data].", metavar="NAME"
    )
    sheet: str | None = setting(None, "Sheet of an Excel workbook [default: the only one with cells].", metavar="NAME")


@dataclass(frozen=True)
class ReplyOptions:
    """Options of replies in a conversation."""

    candidates: int = setting(
        CHAT_CANDIDATES, "Candidates to sample for each reply, of which the one that fits the conversation best is "
        "given.", minimum=1, maximum=256, panel="Dialogue", basic=True)  # fmt: skip
    mutual: float | None = setting(
        None, "Rank candidates by log p(reply | history) − X · log p(reply) [default: by the model's learnt ranking; "
        "1 without one].", metavar="X", minimum=0, maximum=1,
        panel="Dialogue")  # fmt: skip


@dataclass(frozen=True)
class MusicOptions:
    """Options of composing."""

    tempo: float | None = setting(
        None, "Quarter notes per minute [default: chosen by the model].", minimum=4, maximum=1000, panel="Music",
        basic=True)  # fmt: skip
    key: str | None = setting(
        None, "Scale to stay in: 'D dorian', 'a minor', 'F# major', 'E blues'.", panel="Music", basic=True
    )
    instrument: tuple[str, ...] = setting(
        (), "General MIDI name or number of a melodic track (repeatable); the last applies to the remaining tracks.",
        metavar="NAME", panel="Music", basic=True)  # fmt: skip


@dataclass(frozen=True)
class ForecastOptions:
    """Options of `forecast`."""

    encoding: str | None = setting(None, "Encoding of text files [default: recognised].", metavar="NAME")
    horizon: int | None = setting(
        None, "Rows to forecast [default: as in training]; rows beyond are forecast from forecasts.", minimum=1,
        maximum=1 << 20)  # fmt: skip
    levels: str = setting("80,95", "Prediction intervals, in percent, or none.", metavar="P,P")
    backtest: int = setting(
        0, "Number of past origins, a horizon apart, to forecast from instead of the last row.", minimum=0,
        maximum=1 << 20)  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.levels, str):
            parse_levels(self.levels)
