"""Every setting that a person can change: its one default, its help text, and what values it may take.

A setting is a field of one of the frozen dataclasses of this package. The command line makes its flags from these
fields, the Python interface takes them as keyword arguments, and `config.json` keeps them; so a default exists in one
place only. A default of `None` means "chosen from the data and the time at hand" (see `training.plan`).
"""

from seqgen.config.inference import (
    DEFAULT_LENGTH,
    ClassifyOptions,
    EvaluateOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
    SearchOptions,
)
from seqgen.config.networks import (
    CELL_NAMES,
    DIRECTIONS,
    NETWORK_CONFIGS,
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
    check_task,
    flag_name,
    from_json,
    make_options,
    parse_duration,
    parse_event_temperature,
    parse_levels,
    parse_logit_bias,
    parse_pitch_range,
    parse_split_rows,
    setting,
)
from seqgen.config.training import SCALINGS, TASK_NAMES, TOKENIZER_NAMES, TrainOptions

FORMAT_VERSION = (
    1  # of the model folder; a larger number is refused by name, so it changes only when old readers would err
)

__all__ = [
    "CELL_NAMES",
    "DEFAULT_LENGTH",
    "DIRECTIONS",
    "FORMAT_VERSION",
    "NETWORK_CONFIGS",
    "NORMALISATIONS",
    "SCALINGS",
    "TASK_NAMES",
    "TOKENIZER_NAMES",
    "AnyNetworkConfig",
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
    "AnyClassifierConfig",
    "TrainOptions",
    "check",
    "check_task",
    "flag_name",
    "from_json",
    "make_options",
    "network_config_class",
    "parse_logit_bias",
    "parse_duration",
    "parse_event_temperature",
    "parse_levels",
    "parse_pitch_range",
    "parse_split_rows",
    "setting",
]
