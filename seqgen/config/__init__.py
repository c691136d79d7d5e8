"""Every setting that a person can change: its one default, its help text, and what values it may take.

A setting is a field of one of the frozen dataclasses of this package. The command line makes its flags from these
fields, the Python interface takes them as keyword arguments, and `config.json` keeps them; so a default exists in one
place only. A default of `None` means "chosen from the data and the time at hand" (see `training.plan`).
"""

from seqgen.config.networks import (
    CELL_NAMES,
    DIRECTIONS,
    NETWORKS,
    NORMALISATIONS,
    AnyNetwork,
    ClassifierConfig,
    ForecasterConfig,
    GenerativeConfig,
    NetworkConfig,
    Sorter,
    network_kind,
)
from seqgen.config.settings import (
    check,
    check_task,
    flag_name,
    from_json,
    make,
    parse_bias,
    parse_duration,
    parse_kind_temperature,
    parse_levels,
    parse_range,
    parse_split,
    setting,
)
from seqgen.config.training import SCALINGS, TASK_NAMES, TOKENIZER_NAMES, TrainOptions
from seqgen.config.work import (
    DEFAULT_LENGTH,
    ClassifyOptions,
    EvaluateOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
)

FORMAT = 1  # of the model folder; a larger number is refused by name, so it changes only when old readers would err

__all__ = [
    "CELL_NAMES",
    "DEFAULT_LENGTH",
    "DIRECTIONS",
    "FORMAT",
    "NETWORKS",
    "NORMALISATIONS",
    "SCALINGS",
    "TASK_NAMES",
    "TOKENIZER_NAMES",
    "AnyNetwork",
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
    "Sorter",
    "TrainOptions",
    "check",
    "check_task",
    "flag_name",
    "from_json",
    "make",
    "network_kind",
    "parse_bias",
    "parse_duration",
    "parse_kind_temperature",
    "parse_levels",
    "parse_range",
    "parse_split",
    "setting",
]
