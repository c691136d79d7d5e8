"""The tasks and their networks: one table row each, read by every floor.

To add a task: write a file with its `Task` (`seqgen.tasks.base`) and a row here. Implementations are dotted names (see
`registry.resolve`), so that a row costs no import.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from seqgen.specs.registry import Registry
from seqgen.specs.tokenizers import TOKENIZERS, TextTokenizerNames


class RowLayout(StrEnum):
    """The form in which a task reads the rows of a dataset or table."""

    TEXT = "text"  # the text column of each row, ended by a line feed
    RECORDS = "records"  # a JSON object a line
    TABLE = "table"  # Parquet
    NONE = "none"  # not at all


class MetricLabel(NamedTuple):
    """A metric by its key in config.json, and its unit."""

    key: str
    unit: str


@dataclass(frozen=True)
class NetworkSpec:
    """A network architecture of one or several tasks."""

    name: str
    config: str  # dataclass of `seqgen.config.networks`
    module: str  # torch module, called with the config
    weight_shapes: str  # f(config) -> shapes by name
    describe: str  # f(info) -> `api.describe.NetworkDescription`
    predicts_ids: bool = False  # a language model: samples, scores, keeps its corpus
    numpy_classifier: str | None = None  # called with config and weights; None: it doesn't classify
    prompt: str | None = None  # overrides the task's `prompt`
    inspector: str | None = None  # called with config, weights and codec or scaler: an `inspection.base.Inspector`
    # A model may have several such networks, whose predictions are averaged: the fields that must be equal.
    shared_fields: tuple[str, ...] = ()

    @property
    def averages_members(self) -> bool:
        return bool(self.shared_fields)

    @property
    def classifies(self) -> bool:
        return self.numpy_classifier is not None

    @property
    def only_classifies(self) -> bool:
        """Whether it labels texts and can't write them."""
        return self.classifies and not self.predicts_ids


@dataclass(frozen=True)
class TaskSpec:
    """A task as other floors need to know it. A capability that is None or False is missing."""

    name: str  # in config.json, the catalogue and --task
    implementation: str  # class called with this row: a `seqgen.tasks.base.Task`
    networks: tuple[NetworkSpec, ...]  # the first whose config has all fields of config.json is the model's
    default_tokenizer: str
    headline: MetricLabel  # followed in training
    loss_units: frozenset[str] = frozenset()  # options that choose the unit of the validation loss
    headline_units: frozenset[str] = frozenset()  # and of the headline
    reads_text: bool = False  # trains with every text tokenizer, not just the default
    wrappers: tuple[str, ...] = ()  # codecs around a text tokenizer that its models may have
    always_wrapped: bool = False  # whether they have one always
    init_from: tuple[str, ...] = ()  # tasks whose models --init-from accepts
    option_groups: frozenset[str] = frozenset()  # groups of settings that apply (`config.setting`)
    unused_settings: frozenset[str] = frozenset()  # of those without a group
    held_out: str = "the end of each document"  # what --val-fraction makes the validation set
    needs_float32: bool = False  # trains in float32 unless --precision asks for less

    # Sources.
    file_suffixes: tuple[str, ...] = ()  # of the files that count in a folder; none: every text file counts
    file_kinds: tuple[str, ...] = ()  # `FileForm.content` of files that are plainly for this task, whatever their names
    source_noun: str = "text"  # what a folder without such a file lacks
    source_formats: str = ""  # of its files, if they are no text
    row_layout: RowLayout = RowLayout.TEXT
    guess: str | None = None  # f(path, sheet of a workbook) -> bool: whether a file is plainly for this task
    guess_layout: str | None = None  # f(names) -> bool: whether folders with files of these names are plainly for it
    guess_rank: int = 0  # higher ranks are asked first
    form: str = "prose"  # what its sources are, for messages
    reader: str = "seqgen.api.reading.text:read"  # f(ReadingContext) -> Reading: how `seqgen read` reads sources
    record: str = "a document is a record"  # for messages

    # Capabilities.
    prompt: str | None = None  # f(model, request, hold_incomplete) -> Prompt: samples are texts
    composes: bool = False  # samples are pieces of music
    can_score: bool = False
    record_reader: str | None = None  # f(model, documents) -> records to score; None: each document is a record
    can_chat: bool = False
    is_plain_text: bool = False  # documents are read as they stand: scored by line, continued, copied, adapted to
    evaluator: str | None = None  # f(EvaluationContext) -> result
    evaluates_training_sources: bool = False  # of those it takes the held-out rows only
    deciding_metric: str | None = None  # by it a baseline beats the model
    higher_is_better: bool = False  # of the deciding metric
    report: str = "seqgen.cli.evaluation_report:format_report"  # f(result) -> text
    preview: str | None = None  # f(training) -> line of progress
    inspected: str | None = None  # f(InspectionContext) -> the records that `inspect` shows
    hub_task: str = "text-generation"  # `pipeline_tag` of the hub
    command: str = "sample"  # in the model card
    next_command: str = "seqgen sample {model} -t 0.7"  # after a training; {source} is what it was trained on
    default_length: int = 500  # characters of text, bars of music
    min_state_length: int = 0  # --length at which a state may be saved

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The tokenizers that it can train with, the default first."""
        others = TextTokenizerNames() if self.reads_text else ()
        return tuple(dict.fromkeys([self.default_tokenizer, *others]))

    @property
    def accepted_tokenizers(self) -> tuple[str, ...]:
        """The names that tokenizer.json may have."""
        return self.wrappers if self.always_wrapped else (*self.tokenizers, *self.wrappers)


_MODULES = "seqgen.model."
_CONFIGS = "seqgen.config.networks:"
_SHAPES = "seqgen.model.weight_shapes:"
_INFO = "seqgen.api.describe:"
_NUMPY = "seqgen.generation.classification.numpy:"
_INSPECTION = "seqgen.inspection."

LANGUAGE_MODEL = NetworkSpec(
    "language model", _CONFIGS + "NetworkConfig", _MODULES + "language:LanguageModel", _SHAPES + "language_model",
    _INFO + "describe_language_model", predicts_ids=True,
    inspector=_INSPECTION + "language:LanguageInspector",
)  # fmt: skip
CLASSIFIER = NetworkSpec(
    "classifier", _CONFIGS + "ClassifierConfig", _MODULES + "classifier:Classifier", _SHAPES + "classifier",
    _INFO + "describe_classifier", numpy_classifier=_NUMPY + "Discriminative",
    inspector=_INSPECTION + "classifier:ClassifierInspector",
    shared_fields=("vocab_size", "labels", "multi", "ngrams", "affixes", "lowercase", "stop_words"),
)  # fmt: skip
GENERATIVE_CLASSIFIER = NetworkSpec(
    "generative classifier", _CONFIGS + "GenerativeConfig", _MODULES + "generative:GenerativeClassifier",
    _SHAPES + "generative_classifier", _INFO + "describe_classifier", predicts_ids=True,
    numpy_classifier=_NUMPY + "Generative", prompt="seqgen.api.sampling:prompt_of_label",
    inspector=_INSPECTION + "language:LanguageInspector",
)  # fmt: skip
FORECASTER = NetworkSpec(
    "forecaster", _CONFIGS + "ForecasterConfig", _MODULES + "forecaster:Forecaster", _SHAPES + "forecaster",
    _INFO + "describe_forecaster", inspector=_INSPECTION + "forecaster:ForecasterInspector",
    shared_fields=("targets", "horizon", "levels", "past", "known", "lags"),
)  # fmt: skip

TASKS: Registry[TaskSpec] = Registry(
    "task",
    (
        TaskSpec(
            "text", "seqgen.tasks.text:TextTask", (LANGUAGE_MODEL,),
            default_tokenizer="char", reads_text=True, init_from=("text",),
            option_groups=frozenset({
                "language_model", "text_output", "text_column", "keep_corpus", "adaptive", "context_cache",
            }),
            headline=MetricLabel("bits_per_character", "bits/char"), deciding_metric="bits_per_byte",
            loss_units=frozenset({"tokenizer", "vocab_size"}),
            prompt="seqgen.api.sampling:prompt_of_text", preview="seqgen.cli.progress:preview_text",
            evaluator="seqgen.api.evaluate.text:evaluate",
            inspected="seqgen.api.inspect.text:read", can_score=True, is_plain_text=True,
        ),
        TaskSpec(
            "dialogue", "seqgen.tasks.dialogue:DialogueTask", (LANGUAGE_MODEL,),
            form="conversations", reader="seqgen.api.reading.dialogue:read", held_out="whole conversations",
            default_tokenizer="subword", reads_text=True, wrappers=("dialogue",), always_wrapped=True,
            init_from=("dialogue",),
            option_groups=frozenset({
                "language_model", "text_output", "keep_corpus", "lenient", "replies", "generated", "tables",
                "context_cache",
            }),
            headline=MetricLabel("bits_per_character", "bits/char"), loss_units=frozenset({"tokenizer", "vocab_size"}),
            deciding_metric="hits_at_1_of_10", higher_is_better=True,
            row_layout=RowLayout.RECORDS, guess="seqgen.corpus.conversations.read:looks_like_dialogue", guess_rank=1,
            record="a conversation is a record", record_reader="seqgen.api.scoring:read_conversations", can_score=True,
            prompt="seqgen.api.sampling:prompt_of_dialogue", preview="seqgen.cli.progress:preview_dialogue",
            evaluator="seqgen.api.evaluate.dialogue:evaluate",
            inspected="seqgen.api.inspect.dialogue:read", can_chat=True, command="chat",
            next_command="seqgen chat {model}",
        ),
        TaskSpec(
            "music", "seqgen.tasks.music:MusicTask", (LANGUAGE_MODEL,),
            hub_task="other",
            form="music", reader="seqgen.api.reading.music:read", held_out="whole pieces",
            default_tokenizer="midi", init_from=("music",),
            option_groups=frozenset({"language_model", "music", "generated", "keep_corpus", "lenient", "plot"}),
            headline=MetricLabel("nats_per_step", "nats/step"), deciding_metric="nats_per_step",
            file_suffixes=(".mid", ".midi", ".kar", ".rmi", ".smf", ".abc", ".musicxml", ".mxl"),
            file_kinds=("midi", "mxl", "MusicXML", "ABC"), source_noun="music",
            source_formats="MIDI, ABC or MusicXML",
            row_layout=RowLayout.NONE,
            record="a piece is a record",
            composes=True, preview="seqgen.cli.progress:preview_music", can_score=True,
            evaluator="seqgen.api.evaluate.music:evaluate",
            inspected="seqgen.api.inspect.music:read", default_length=16, min_state_length=1,
            next_command="seqgen sample {model} -t 0.8 -o {model}.mid",
        ),
        TaskSpec(
            "classify", "seqgen.tasks.classification:ClassificationTask", (CLASSIFIER, GENERATIVE_CLASSIFIER),
            hub_task="text-classification",
            form="labelled texts", reader="seqgen.api.reading.classification:read",
            held_out="the same fraction of each label",
            default_tokenizer="subword", reads_text=True, wrappers=("labelled",),
            init_from=("classify", "text"),
            option_groups=frozenset({
                "labels", "members", "text_output", "text_column", "keep_corpus", "plot", "tables",
            }),
            headline=MetricLabel("accuracy", "accuracy"), deciding_metric="log_loss",
            row_layout=RowLayout.RECORDS, guess="seqgen.corpus.labelled.read:looks_like_labelled_texts", guess_rank=3,
            guess_layout="seqgen.corpus.labelled.read:looks_like_class_folders",
            evaluator="seqgen.api.evaluate.classification:evaluate",
            inspected="seqgen.api.inspect.classification:read", command="classify",
            next_command="seqgen classify {model} {source}",
        ),
        TaskSpec(
            "forecast", "seqgen.tasks.forecasting:ForecastingTask", (FORECASTER,),
            hub_task="time-series-forecasting",
            form="series of numbers", reader="seqgen.api.reading.forecasting:read",
            held_out="the last rows of each series",
            default_tokenizer="series", init_from=("forecast",),
            option_groups=frozenset({"series", "members", "tables"}),
            unused_settings=frozenset({"tie_weights", "weight_drop", "seq_length"}),
            headline=MetricLabel("scaled_mse", "scaled MSE"), deciding_metric="scaled_mse", needs_float32=True,
            loss_units=frozenset({"scaling", "log_returns"}), headline_units=frozenset({"scaling", "log_returns"}),
            row_layout=RowLayout.TABLE, guess="seqgen.corpus.series.read:looks_like_series", guess_rank=2,
            preview="seqgen.cli.progress:preview_forecast", command="forecast",
            next_command="seqgen forecast {model} {source}",
            evaluator="seqgen.api.evaluate.forecasting:evaluate",
            inspected="seqgen.api.inspect.forecasting:read", evaluates_training_sources=True,
            report="seqgen.cli.evaluation_report:format_forecast_report",
        ),
    ),
)  # fmt: skip


def names_with_group(group: str) -> tuple[str, ...]:
    """The tasks to which settings of this group apply."""
    return tuple(name for name, spec in TASKS.items() if group in spec.option_groups)


def network_of(config: object) -> NetworkSpec:
    """The row of a network's config, by its class. Raises `LookupError` for an unknown class."""
    wanted = f"{type(config).__module__}:{type(config).__qualname__}"
    for task in TASKS.values():
        for network in task.networks:
            if network.config == wanted:
                return network
    raise LookupError(f"no row of the table of networks has the config {wanted}")


def default_tokenizer(task: str, wants_vocab_size: bool) -> str:
    """The tokenizer of a task if none is given: its first, or the first that takes a vocabulary size."""
    names = TASKS.find(task).tokenizers
    if wants_vocab_size:
        return next((name for name in names if "vocab_size" in TOKENIZERS.find(name).fit_options), names[0])
    return names[0]
