"""What `train` can be told."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config.networks import CELL_NAMES, DIRECTIONS, NORMALISATIONS
from seqgen.config.settings import flag_name, parse_duration, parse_levels, parse_pitch_range, parse_split_rows, setting
from seqgen.errors import UserError

TASK_NAMES = ("text", "dialogue", "music", "classify", "forecast")
TOKENIZER_NAMES = ("char", "byte", "subword")  # of text; music has its own
SCALINGS = ("standard", "minmax", "none")
_MUSIC = ("music",)
_FORECAST = ("forecast",)
_CLASSIFY = ("classify",)


@dataclass(frozen=True)
class TrainOptions:
    """What `train` can be told. `None` leaves the choice to the program."""

    tokenizer: str | None = setting(
        None, "How text becomes ids [default: char; subword for labelled texts].", choices=TOKENIZER_NAMES)  # fmt: skip
    vocab_size: int | None = setting(
        None, "Pieces in a subword vocabulary [default: by corpus size].", minimum=300, maximum=1 << 20)  # fmt: skip

    cell: str = setting("lstm", "Recurrent cell.", choices=CELL_NAMES)
    activation: str = setting("tanh", "Of the vanilla RNN only.", choices=("tanh", "relu"))
    rnn_size: int | None = setting(None, "Units a layer.", "--hidden-size", minimum=1, maximum=1 << 16)
    num_layers: int | None = setting(None, "Recurrent layers.", "--layers", minimum=1, maximum=64)
    embedding_size: int | None = setting(None, "Numbers that stand for one token.", minimum=1, maximum=1 << 16)
    tie_weights: bool | None = setting(None, "Share the embedding with the output layer.")
    dropout: float | None = setting(
        None, "Locked dropout on each layer's output (one mask a sequence).", minimum=0, maximum=0.95)  # fmt: skip
    weight_drop: float | None = setting(
        None, "DropConnect on the recurrent weights (one mask a batch).", minimum=0, maximum=0.95)  # fmt: skip

    blank: float | None = setting(
        None, "Share of what is read that is blanked out while learning.", minimum=0, maximum=0.9,
        tasks=("text", "dialogue", "music"))  # fmt: skip

    seq_length: int | None = setting(None, "Steps of truncated backpropagation.", minimum=2, maximum=1 << 20)
    batch_size: int | None = setting(None, "Streams read side by side.", minimum=1, maximum=1 << 20)
    learning_rate: float | None = setting(None, "AdamW's peak rate.", "--lr", exclusive_minimum=0, maximum=10)
    weight_decay: float = setting(0.01, "AdamW's decoupled decay, on matrices only.", minimum=0, maximum=10)
    averaging: float = setting(
        8.0, "Keep the mean of the weights over about the last 1/(1+X) of the run; 0 keeps the last ones.", minimum=0,
        maximum=1e6)  # fmt: skip
    grad_clip: float = setting(0.5, "Largest norm of the gradient.", exclusive_minimum=0)
    warmup: float = setting(0.02, "Share of the run in which the rate rises from zero.", minimum=0, maximum=0.9)

    budget: str | None = setting(None, "How long, all told: 90s, 10m, 2h.", metavar="TIME")
    epochs: float | None = setting(None, "How long, in passes over the training part.", exclusive_minimum=0)
    steps: int | None = setting(None, "How long, in optimiser steps.", minimum=1)
    patience: int = setting(
        8, "Validations without a better one before stopping early; 0 never stops.", minimum=0)  # fmt: skip
    val_fraction: float = setting(
        0.1, "Part held out at the end of each document.", minimum=0, maximum=0.9)  # fmt: skip

    grid: int = setting(
        4, "Music: steps a quarter note; 12 holds triplets.", minimum=1, maximum=48, tasks=_MUSIC)  # fmt: skip
    velocity_bins: int = setting(8, "Music: how many loudnesses.", minimum=1, maximum=127, tasks=_MUSIC)
    tracks: str = setting(
        "all", "Music: all parts, the melody alone, or all but the drums as one piano.",
        choices=("all", "melody", "piano"), tasks=_MUSIC)  # fmt: skip
    pitch_range: str = setting(
        "0-127", "Music: the lowest and highest pitch kept.", metavar="LOW-HIGH", tasks=_MUSIC)  # fmt: skip
    note_order: str = setting(
        "rising", "Music: how notes that begin together are read.", choices=("rising", "falling"),
        tasks=_MUSIC)  # fmt: skip
    transpose: int = setting(
        5, "Music: every pass moves each piece by up to so many semitones; 0 never.", minimum=0, maximum=24,
        tasks=_MUSIC)  # fmt: skip
    stretch: int = setting(
        0, "Music: every pass plays each piece up to so many percent faster or slower.", minimum=0, maximum=50,
        tasks=_MUSIC)  # fmt: skip
    text_column: str | None = setting(
        None, "Text and labelled texts: the column of a table, or key of JSON, that holds the text [default: guessed; "
        "of text, CSV and JSON are read as they stand].", tasks=("text", "classify"))  # fmt: skip
    label_column: str | None = setting(
        None, "Labelled texts: the column or key that holds the label [default: guessed].",
        tasks=_CLASSIFY)  # fmt: skip
    direction: str = setting(
        "both", "Labelled texts: which way they are read.", choices=DIRECTIONS, tasks=_CLASSIFY)  # fmt: skip
    ngrams: int = setting(
        3, "Labelled texts: the longest n-gram, in words, of the linear model beside the network; 0 for none.",
        minimum=0, maximum=5, tasks=_CLASSIFY)  # fmt: skip
    lowercase: bool = setting(False, "Labelled texts: read capitals as small letters.", tasks=_CLASSIFY)
    stop_words: str | None = setting(
        None, "Labelled texts: a file of words to leave out, one a line.", metavar="FILE", tasks=_CLASSIFY)  # fmt: skip
    balance: bool = setting(False, "Labelled texts: make rare labels count as much as common ones.", tasks=_CLASSIFY)
    label_smoothing: float = setting(
        0.0, "Labelled texts: share of the target spread over all labels.", minimum=0, maximum=0.5,
        tasks=_CLASSIFY)  # fmt: skip
    generative: bool = setting(
        False, "Labelled texts: learn to write texts of each label, and sort by Bayes' rule.",
        tasks=_CLASSIFY)  # fmt: skip
    pretrain: float | None = setting(
        None, "Labelled texts: share of the time in which the network learns to predict their words, before their "
        "labels [default: by corpus and time].", minimum=0, maximum=0.9, tasks=_CLASSIFY)  # fmt: skip
    layer_decay: float | None = setting(
        None, "Labelled texts: each layer learns at the rate of the one above it divided by this [default: 2.6 after "
        "--init-from, 1.5 after --pretrain, otherwise 1].", minimum=1, maximum=100, tasks=_CLASSIFY)  # fmt: skip
    unfreeze: float | None = setting(
        None, "Labelled texts: share of the time by whose end all layers learn, one after another from the top "
        "[default: 0.3 after --init-from, 0.1 after --pretrain, otherwise 0].", minimum=0, maximum=0.9,
        tasks=_CLASSIFY)  # fmt: skip
    strict: bool = setting(
        False, "Stop at a damaged file instead of passing it over.", tasks=("music", "dialogue"))  # fmt: skip

    target: tuple[str, ...] = setting(
        (), "Forecasting: a column to forecast (repeatable, or a,b,c) [default: every numeric one].",
        metavar="COLUMN", tasks=_FORECAST)  # fmt: skip
    horizon: int | None = setting(
        None, "Forecasting: rows ahead [default: a season].", minimum=1, maximum=1 << 16, tasks=_FORECAST)  # fmt: skip
    look_back: int | None = setting(
        None, "Forecasting: rows that a forecast is made from.", minimum=1, maximum=1 << 20, tasks=_FORECAST)  # fmt: skip
    segment_length: int | None = setting(
        None, "Forecasting: rows that enter in one step of recurrence [default: a season].", minimum=1, maximum=1 << 16,
        tasks=_FORECAST)  # fmt: skip
    time_column: str | None = setting(
        None, "Forecasting: the column of times [default: recognised].", metavar="COLUMN", tasks=_FORECAST)  # fmt: skip
    series: str | None = setting(
        None, "Forecasting: the column that names the series, where one file holds several below each other.",
        metavar="COLUMN", tasks=_FORECAST)  # fmt: skip
    covariates: tuple[str, ...] = setting(
        (), "Forecasting: columns that help and are known up to now.", metavar="COLUMN", tasks=_FORECAST)  # fmt: skip
    future_covariates: tuple[str, ...] = setting(
        (), "Forecasting: columns that help and are known ahead.", metavar="COLUMN", tasks=_FORECAST)  # fmt: skip
    frequency: str | None = setting(
        None, "Forecasting: time between rows, as in hour, '15 minutes', 'business day', month [default: found].",
        tasks=_FORECAST)  # fmt: skip
    scaling: str = setting(
        "standard", "Forecasting: of the numbers, by the rows learnt from.", choices=SCALINGS,
        tasks=_FORECAST)  # fmt: skip
    log_returns: bool = setting(
        False, "Forecasting: learn logarithms and so relative changes, for prices; the last value stands where nothing "
        "better is shown.", tasks=_FORECAST)  # fmt: skip
    normalisation: str = setting(
        "changes", "Forecasting: a window less its last value, over the size of its recent changes; less its last "
        "value alone; or less its mean, over its spread.", choices=NORMALISATIONS, tasks=_FORECAST)  # fmt: skip
    calendar: bool | None = setting(
        None, "Forecasting: tell the network the time of day, week and year [default: of what a look-back can't "
        "show].",
        tasks=_FORECAST)  # fmt: skip
    linear: bool = setting(
        False, "Forecasting: a linear map from look-back to horizon beside the network.", tasks=_FORECAST)  # fmt: skip
    split_rows: str | None = setting(
        None, "Forecasting: rows, or shares, to learn from, to choose by and to measure on: 8640,2880,2880.",
        metavar="N,N[,N]", tasks=_FORECAST)  # fmt: skip
    levels: str = setting(
        "50,80,95", "Forecasting: the bands, in percent; none for no bands.", metavar="P,P",
        tasks=_FORECAST)  # fmt: skip

    keep_corpus: bool = setting(
        False, "Keep the corpus in the model, five bytes for each of its own, so that `sample --max-copy` has it "
        "wherever the model goes.", tasks=("text", "dialogue", "music", "classify"))  # fmt: skip
    seed: int = setting(0, "Of every random choice.", minimum=0, maximum=(1 << 63) - 1)
    device: str = setting("auto", "Where to compute.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = setting("auto", "Of the products in training.", choices=("auto", "fp32", "bf16"))
    threads: int | None = setting(None, "Processor threads [default: all].", minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        given = [name for name in ("budget", "epochs", "steps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"give one of --budget, --epochs and --steps, not {' and '.join(map(flag_name, given))}")
        if isinstance(self.budget, str):
            parse_duration(self.budget)
        if self.vocab_size is not None and self.tokenizer not in (None, "subword"):
            raise UserError(f"--vocab-size needs --tokenizer subword, not {self.tokenizer}")
        if self.activation != "tanh" and self.cell != "rnn":
            raise UserError(f"--activation {self.activation} needs --cell rnn, not {self.cell}")
        if self.generative:
            for name in ("direction", "ngrams", "balance", "label_smoothing", "pretrain", "layer_decay", "unfreeze"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise UserError(f"{flag_name(name)} does not go with --generative, which learns to write")
        if isinstance(self.pitch_range, str):
            parse_pitch_range(self.pitch_range)
        if isinstance(self.levels, str):
            parse_levels(self.levels)
        if isinstance(self.split_rows, str):
            parse_split_rows(self.split_rows)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer asked for; a vocabulary size alone asks for subwords."""
        return self.tokenizer or ("subword" if self.vocab_size is not None else "char")
