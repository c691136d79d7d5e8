"""All settings of the program, each with its default, its help text and its allowed values.

A setting is a field of one of the frozen dataclasses of this package. Command-line flags, keyword arguments of the
Python interface and entries of config.json are made from these fields, so that a default is defined only once. A
default of `None` means that a plan chooses the value from the data and the available time (`training.plans`).
"""

from seqgen.config.inference import (
    ChatOptions,
    ClassifyOptions,
    EvaluateOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
    SearchOptions,
)
from seqgen.config.networks import (
    DIRECTIONS,
    NORMALISATIONS,
    AnyClassifierConfig,
    AnyNetworkConfig,
    ClassifierConfig,
    ForecasterConfig,
    GenerativeConfig,
    NetworkConfig,
    network_config_class,
)
from seqgen.config.settings import (
    check,
    check_ranges,
    check_task,
    field_types,
    flag_name,
    from_json,
    make_options,
    parse_duration,
    parse_event_temperature,
    parse_lags,
    parse_levels,
    parse_logit_bias,
    parse_picture,
    parse_pitch_range,
    parse_split_rows,
    setting,
)
from seqgen.config.training import SCALINGS, TASK_NAMES, TOKENIZER_NAMES, TrainOptions

FORMAT_VERSION = 1  # of the model folder; readers refuse a larger number, so raise it only if they would fail

__all__ = [
    "DIRECTIONS",
    "FORMAT_VERSION",
    "NORMALISATIONS",
    "SCALINGS",
    "TASK_NAMES",
    "TOKENIZER_NAMES",
    "AnyClassifierConfig",
    "AnyNetworkConfig",
    "ChatOptions",
    "ClassifierConfig",
    "ClassifyOptions",
    "EvaluateOptions",
    "ForecastOptions",
    "ForecasterConfig",
    "GenerativeConfig",
    "MusicOptions",
    "NetworkConfig",
    "ReplyOptions",
    "SampleOptions",
    "SearchOptions",
    "TrainOptions",
    "check",
    "check_ranges",
    "check_task",
    "field_types",
    "flag_name",
    "from_json",
    "make_options",
    "network_config_class",
    "parse_duration",
    "parse_event_temperature",
    "parse_lags",
    "parse_levels",
    "parse_logit_bias",
    "parse_picture",
    "parse_pitch_range",
    "parse_split_rows",
    "setting",
]
