"""The sampling filters: one table row each, in the order in which they run, read by every floor.

To add a filter: write a function in any module and a row here. Its options become flags, arguments of `Model.sample`
and fields of receipts. A filter without compiled code makes the whole draw run in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqgen.specs.registry import Registry


@dataclass(frozen=True)
class Option:
    """A setting of a filter; see `config.setting` for the attributes."""

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    metavar: str | None = None
    group: str | None = None
    panel: str = "Filters"
    basic: bool | str = False
    parse: str | None = None  # raises `UserError` for an item of the value that can't be parsed


@dataclass(frozen=True)
class FilterSpec:
    """What every floor must know of one filter.

    Implementations are dotted names (see `registry.resolve`).
    """

    name: str  # the option that turns it on
    title: str
    options: tuple[Option, ...]
    implementation: str  # f(options, resolved) -> Filter, or None where the options leave it off
    resolve: str | None = None  # f(options, codec) -> `resolved`: texts and names in the options as ids
    compiled: bool = False  # native/filters.c has it too
    device: str | None = None  # f(options) -> function of tensors, or None with these options: for draws on a GPU
    window: str | None = None  # option that bounds how many past ids it reads
    uniforms: bool = False  # needs a random number for each row and step
    stateful: bool = False  # adapts a limit to the drawn tokens: runs last


_FILTERS = "seqgen.generation.sampling.filters:"
_DEVICE = "seqgen.generation.sampling.device_draw:"
_NAMES = "seqgen.generation.sampling.token_names:"
_PARSERS = "seqgen.config.settings:"

FILTERS: Registry[FilterSpec] = Registry(
    "filter",
    (
        FilterSpec("logit_bias", "logit bias", (
            Option("logit_bias", tuple[str, ...], (),
                   "Value to add to the logit of a token, given as its text or #ID: 'x=-2' (repeatable).",
                   metavar="TOKEN=X", parse=_PARSERS + "parse_logit_bias"),
        ), _FILTERS + "make_logit_bias", resolve=_NAMES + "resolve_logit_bias", compiled=True),
        FilterSpec("repetition_penalty", "repetition penalty", (
            Option("repetition_penalty", float, 1.0,
                   "Divisor of the logits of the last --repetition-window tokens (CTRL); 1 for none.", minimum=0.001,
                   maximum=1000, basic="Sampling"),
            Option("repetition_window", int, 64, "Tokens that the penalties look back.", minimum=1,
                   maximum=1 << 20),
        ), _FILTERS + "make_repetition_penalty", compiled=True, window="repetition_window"),
        FilterSpec("frequency_penalty", "frequency penalty", (
            Option("frequency_penalty", float, 0.0,
                   "Number to subtract from a token's logit for each time it occurs in the last --repetition-window "
                   "tokens; 0 for none.", minimum=-100, maximum=100),
        ), _FILTERS + "make_frequency_penalty", window="repetition_window"),
        FilterSpec("presence_penalty", "presence penalty", (
            Option("presence_penalty", float, 0.0,
                   "Number to subtract once from the logit of each of the last --repetition-window tokens; 0 for none.",
                   minimum=-100, maximum=100),
        ), _FILTERS + "make_presence_penalty", window="repetition_window"),
        FilterSpec("dry_multiplier", "DRY", (
            Option("dry_multiplier", float, 0.0,
                   "Strength of the DRY penalty on tokens that extend a repetition, times --dry-base to the power of "
                   "its length beyond --dry-allowed-length; 0 for none.", minimum=0, maximum=100),
            Option("dry_base", float, 1.75, "Growth of the DRY penalty with each repeated token.", minimum=1,
                   maximum=100),
            Option("dry_allowed_length", int, 2, "Tokens of a repetition that DRY does not penalise.", minimum=1,
                   maximum=1 << 20),
            Option("dry_window", int, 1024, "Tokens that DRY looks back for repetitions.", minimum=1,
                   maximum=1 << 20),
            Option("dry_breaker", tuple[str, ...], ("\n", ":", '"', "*"),
                   "Text that ends any repetition for DRY (repeatable; '' for none).", metavar="TEXT",
                   group="text_output"),
        ), _FILTERS + "make_dry", resolve=_NAMES + "resolve_sequence_breakers", compiled=True, window="dry_window"),
        FilterSpec("temperature", "temperature", (
            Option("temperature", float, 1.0,
                   "Divisor of the logits: below 1 for likelier text, above 1 for more varied text, 0 for greedy "
                   "decoding.", flags=("-t",), minimum=0, basic="Sampling"),
            Option("dynatemp_range", float, 0.0,
                   "Largest change of the temperature: down by this much where the model is certain, up where it is "
                   "not.", minimum=0, maximum=100),
            Option("dynatemp_exponent", float, 1.0,
                   "Exponent of the normalised entropy that sets the temperature within --dynatemp-range.",
                   exclusive_minimum=0, maximum=100),
            Option("temperature_of", tuple[str, ...], (),
                   "Temperature among the values of one event type, as in 'pitch=1.2' (repeatable).",
                   metavar="TYPE=X", group="music", panel="Music", parse=_PARSERS + "parse_event_temperature"),
        ), _FILTERS + "make_temperature", resolve=_NAMES + "resolve_event_temperatures", compiled=True,
            device=_DEVICE + "make_temperature"),
        FilterSpec("top_k", "top-k", (
            Option("top_k", int, 0, "Number of likeliest tokens to keep; 0 for all.", minimum=0,
                   basic="Sampling"),
        ), _FILTERS + "make_top_k", compiled=True, device=_DEVICE + "make_top_k"),
        FilterSpec("top_p", "top-p", (
            Option("top_p", float, 1.0, "Total probability of the likeliest tokens to keep (nucleus sampling).",
                   exclusive_minimum=0, maximum=1, basic="Sampling"),
        ), _FILTERS + "make_top_p", compiled=True, device=_DEVICE + "make_top_p"),
        FilterSpec("min_p", "min-p", (
            Option("min_p", float, 0.0, "Lowest probability to keep, relative to the likeliest token.", minimum=0,
                   maximum=1, basic="Sampling"),
        ), _FILTERS + "make_min_p", compiled=True, device=_DEVICE + "make_min_p"),
        FilterSpec("typical_p", "typical-p", (
            Option("typical_p", float, 1.0,
                   "Total probability of the tokens to keep whose surprise is closest to the entropy.",
                   exclusive_minimum=0, maximum=1),
        ), _FILTERS + "make_typical_p", compiled=True, device=_DEVICE + "make_typical_p"),
        FilterSpec("xtc_probability", "XTC", (
            Option("xtc_probability", float, 0.0, "Probability of removing the top tokens at a step (XTC).",
                   minimum=0, maximum=1),
            Option("xtc_threshold", float, 0.1,
                   "Probability from which XTC removes tokens; the least likely of them stays.", exclusive_minimum=0,
                   maximum=1),
        ), _FILTERS + "make_xtc", compiled=True, uniforms=True),
        FilterSpec("mirostat_tau", "mirostat", (
            Option("mirostat_tau", float, 0.0, "Target surprise in bits per token (mirostat 2); 0 for none.",
                   minimum=0, maximum=100),
            Option("mirostat_eta", float, 0.1, "Learning rate of mirostat.", exclusive_minimum=0, maximum=10),
        ), _FILTERS + "make_mirostat", compiled=True, stateful=True),
    ),
)  # fmt: skip


def filter_rows() -> list[FilterSpec]:
    """All rows in the order in which their filters run: the stateful ones last."""
    return sorted(FILTERS.values(), key=lambda row: row.stateful)


def filter_options() -> list[Option]:
    """The options of all filters, in order."""
    return [option for row in filter_rows() for option in row.options]
