"""Options of `train`."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config.networks import DIRECTIONS, NORMALISATIONS
from seqgen.config.settings import (
    flag_name,
    parse_duration,
    parse_lags,
    parse_levels,
    parse_pitch_range,
    parse_split_rows,
    setting,
)
from seqgen.errors import UserError
from seqgen.specs.cells import ACTIVATIONS, CELLS
from seqgen.specs.tasks import TASKS, default_tokenizer
from seqgen.specs.tokenizers import TextTokenizerNames, takes_option

TASK_NAMES = TASKS.keys()
TOKENIZER_NAMES = TextTokenizerNames()
SCALINGS = ("standard", "minmax", "none")
_LEAST_STRETCH = 3  # percent: less is no step between tempos of music, a twelfth of an octave apart


@dataclass(frozen=True)
class TrainOptions:
    """Options of `train`. With `None` the program chooses."""

    tokenizer: str | None = setting(
        None, "Tokenizer of text [default: char; subword for dialogue and labelled texts].", choices=TOKENIZER_NAMES,
        panel="Data", basic=True)  # fmt: skip
    vocab_size: int | None = setting(
        None, "Vocabulary size of the subword tokenizer [default: by corpus size].", minimum=300, maximum=1 << 20,
        panel="Data")  # fmt: skip

    cell: str = setting("lstm", "Recurrent cell.", choices=CELLS.keys(), panel="Network", basic=True)
    activation: str = setting("tanh", "Activation of the simple RNN.", choices=ACTIVATIONS, panel="Network")
    rnn_size: int | None = setting(
        None, "Hidden size: units per layer [default: by corpus and time].", "--hidden-size", minimum=1,
        maximum=1 << 16, panel="Network", basic=True)  # fmt: skip
    num_layers: int | None = setting(
        None, "Number of recurrent layers [default: by corpus and time].", "--layers", minimum=1, maximum=64,
        panel="Network", basic=True)  # fmt: skip
    embedding_size: int | None = setting(
        None, "Embedding dimension [default: by corpus and time].", minimum=1, maximum=1 << 16, panel="Network"
    )
    tie_weights: bool | None = setting(
        None, "Tie the weights of the output layer to the embedding [default: by corpus].", panel="Network"
    )
    dropout: float | None = setting(
        None, "Variational dropout of each layer's output, one mask per sequence [default: by corpus].", minimum=0,
        maximum=0.95, panel="Network", basic=True)  # fmt: skip
    weight_drop: float | None = setting(
        None, "DropConnect of the recurrent weights, one mask per batch [default: 0].", minimum=0, maximum=0.95,
        panel="Network")  # fmt: skip

    blank: float | None = setting(
        None, "Fraction of input tokens blanked out in training [default: by corpus].", minimum=0, maximum=0.9,
        group="language_model")  # fmt: skip

    seq_length: int | None = setting(
        None, "Steps of truncated backpropagation through time [default: by corpus and time].", minimum=2,
        maximum=1 << 20, panel="Training")  # fmt: skip
    batch_size: int | None = setting(
        None, "Batch size [default: by corpus and time].", minimum=1, maximum=1 << 20, panel="Training", basic="Network"
    )
    learning_rate: float | None = setting(
        None, "Peak learning rate of AdamW [default: by network and batch size].", "--lr", exclusive_minimum=0,
        maximum=10, panel="Training", basic="Network")  # fmt: skip
    weight_decay: float = setting(
        0.01, "Decoupled weight decay of AdamW, on matrices only.", minimum=0, maximum=10, panel="Training"
    )
    averaging: float = setting(
        8.0, "Average the weights over about the last 1/(1+X) of the run; 0 for no averaging.", minimum=0, maximum=1e6,
        panel="Training")  # fmt: skip
    grad_clip: float = setting(0.5, "Gradient norm to clip at.", exclusive_minimum=0, panel="Training")
    warmup: float = setting(
        0.02, "Fraction of the run in which the learning rate warms up from zero.", minimum=0, maximum=0.9,
        panel="Training")  # fmt: skip

    budget: str | None = setting(
        None, "Total time, such as 90s, 10m or 2h [default: by corpus size, at most 10m].", metavar="TIME",
        panel="Time", basic=True)  # fmt: skip
    epochs: float | None = setting(None, "Length of training in epochs.", exclusive_minimum=0, panel="Time", basic=True)
    steps: int | None = setting(None, "Length of training in optimiser steps.", minimum=1, panel="Time", basic=True)
    patience: int = setting(
        8, "Validations without improvement before early stopping; 0 for never.", minimum=0, panel="Time"
    )
    members: int | None = setting(
        None, "Networks trained one after another, whose predictions are averaged; each holds out another part "
        "[default: by corpus and time].", minimum=1, maximum=16, panel="Training", group="members")  # fmt: skip
    val_fraction: float = setting(
        0.1, "Fraction of each document held out, at its end, as the validation set.", minimum=0, maximum=0.9,
        panel="Data", basic=True)  # fmt: skip
    finish: bool = setting(
        True, "Learn the part held out by --val-fraction too, once it has chosen the step.", panel="Data"
    )

    grid: int | None = setting(
        None, "Steps per quarter note [default: 4, or 12 for triplets, 8 for 32nds, where the notes are such].",
        minimum=1, maximum=48, group="music")  # fmt: skip
    velocity_bins: int = setting(8, "Number of velocity levels.", minimum=1, maximum=127, group="music")
    tracks: str = setting(
        "all", "Parts to read: all, the melody alone, or all but the drums as one piano part.",
        choices=("all", "melody", "piano"), group="music")  # fmt: skip
    pitch_range: str = setting("0-127", "Lowest and highest MIDI pitch to keep.", metavar="LOW-HIGH", group="music")
    note_order: str = setting(
        "rising", "Order of notes that start together.", choices=("rising", "falling"), group="music"
    )
    transpose: int = setting(
        5, "Largest random transposition of a piece in each epoch, in semitones; 0 learns all pieces in C major or "
        "A minor, with an event for the key.", minimum=0, maximum=24, group="music")  # fmt: skip
    stretch: int = setting(
        0, "Largest random change of tempo in each epoch, in percent, by steps of 6 %, of pieces that don't begin at "
        "120.", minimum=0, maximum=50, group="music")  # fmt: skip
    sheet: str | None = setting(
        None, "Sheet of an Excel workbook [default: the only one with cells].", metavar="NAME", panel="Data",
        group="tables")  # fmt: skip
    encoding: str | None = setting(None, "Encoding of text files [default: recognised].", metavar="NAME", panel="Data")
    text_column: str | None = setting(
        None, "Text and labelled texts: column of a table, or key of JSON, with the text [default: guessed for "
        "labelled texts; plain text includes CSV and JSON as they are].", metavar="COLUMN", group="text_column",
        basic=True)  # fmt: skip
    label_column: str | None = setting(
        None, "Column or key with the label [default: guessed].", metavar="COLUMN", group="labels", basic="Data"
    )
    direction: str = setting("both", "Reading direction of the network.", choices=DIRECTIONS, group="labels")
    ngrams: int = setting(
        3, "Longest n-gram, in words, of the linear model beside the network; 0 for none.", minimum=0,
        maximum=5, group="labels")  # fmt: skip
    lowercase: bool = setting(False, "Convert to lower case.", group="labels")
    stop_words: str | None = setting(None, "File of words to leave out, one per line.", metavar="FILE", group="labels")
    balance: bool = setting(False, "Give rare labels the same total weight as common ones.", group="labels")
    label_smoothing: float = setting(
        0.0, "Fraction of the target probability spread over all labels.", minimum=0, maximum=0.5,
        group="labels")  # fmt: skip
    generative: bool = setting(
        False, "Train a generative model, which writes texts of a label and classifies by Bayes' rule.",
        group="labels")  # fmt: skip
    pretrain: float | None = setting(
        None, "Fraction of the time for pretraining as a language model [default: by corpus and time].",
        minimum=0, maximum=0.9, group="labels")  # fmt: skip
    unlabelled: tuple[str, ...] = setting(
        (), "Texts without labels, for pretraining and the linear model (repeatable).", metavar="SOURCE",
        group="labels")  # fmt: skip
    layer_decay: float | None = setting(
        None, "Divisor of the learning rate from each layer to the one below [default: 2.6 after "
        "--init-from, 1.5 after --pretrain, otherwise 1].", minimum=1, maximum=100, group="labels")  # fmt: skip
    unfreeze: float | None = setting(
        None, "Fraction of the time in which layers are unfrozen one by one, from the top [default: "
        "0.3 after --init-from, 0.1 after --pretrain, otherwise 0].", minimum=0, maximum=0.9,
        group="labels")  # fmt: skip
    strict: bool = setting(False, "Stop at damaged input instead of skipping it.", group="lenient")

    target: tuple[str, ...] = setting(
        (), "Column to forecast (repeatable, or a,b,c) [default: all numeric columns].", metavar="COLUMN",
        group="series", basic="Data")  # fmt: skip
    horizon: int | None = setting(
        None, "Rows to forecast [default: a season].", minimum=1, maximum=1 << 16, group="series", basic="Data"
    )
    look_back: int | None = setting(
        None, "Rows that a forecast is computed from [default: by horizon and season].", minimum=1,
        maximum=1 << 20, group="series")  # fmt: skip
    segment_length: int | None = setting(
        None, "Rows read in one step of recurrence [default: a season].", minimum=1, maximum=1 << 16,
        group="series")  # fmt: skip
    time_column: str | None = setting(None, "Time column [default: detected].", metavar="COLUMN", group="series")
    series: str | None = setting(
        None, "Column that names the series, for tables in long format.", metavar="COLUMN", group="series"
    )
    covariates: tuple[str, ...] = setting(
        (), "Column known up to now that helps to forecast (repeatable).", metavar="COLUMN", group="series"
    )
    future_covariates: tuple[str, ...] = setting(
        (), "Column known in advance that helps to forecast (repeatable).", metavar="COLUMN",
        group="series")  # fmt: skip
    frequency: str | None = setting(
        None, "Time between rows, such as hour, '15 minutes', 'business day', month [default: detected].",
        group="series")  # fmt: skip
    scaling: str = setting(
        "standard", "Scaling of each column by statistics of the training rows.", choices=SCALINGS,
        group="series")  # fmt: skip
    log_returns: bool = setting(
        False, "Model logarithms, as for prices; the forecast is the last value unless validation shows a "
        "better one.", group="series")  # fmt: skip
    normalisation: str = setting(
        "changes", "Scaling of windows. changes: subtract a window's last value and divide by the size of "
        "its recent changes; last: subtract its last value; window: subtract its mean and divide by its standard "
        "deviation.", choices=NORMALISATIONS, group="series")  # fmt: skip
    calendar: bool | None = setting(
        None, "Give the network the time of day, week and year [default: those that a look-back doesn't "
        "cover].", group="series")  # fmt: skip
    holidays: str | None = setting(
        None, "Country, or country and subdivision, whose public holidays are known in advance: DE, DE-BY, US-CA.",
        metavar="CODE", group="series")  # fmt: skip
    lags: str | None = setting(
        None, "Seasons, in rows, whose earlier values are inputs too, or none [default: a year, where the look-back "
        "is shorter and the series twice as long].", metavar="N,N", group="series")  # fmt: skip
    linear: bool = setting(False, "Add a linear map from look-back to horizon.", group="series")
    mixture: bool = setting(
        True, "Mix the forecasts with those of a linear map and the last season, as validation weights them.",
        group="series")  # fmt: skip
    split_rows: str | None = setting(
        None, "Rows, or fractions, of the training, validation and test sets: 8640,2880,2880.",
        metavar="N,N[,N]", group="series")  # fmt: skip
    levels: str = setting("50,80,95", "Prediction intervals, in percent, or none.", metavar="P,P", group="series")

    keep_corpus: bool = setting(
        False, "Save the corpus and its index in the model (five times its size), for `sample --max-copy`.",
        group="keep_corpus")  # fmt: skip
    seed: int = setting(0, "Random seed.", minimum=0, maximum=(1 << 63) - 1, panel="Training")
    device: str = setting("auto", "Device to train on.", choices=("auto", "cpu", "cuda", "mps"), panel="Hardware")
    precision: str = setting(
        "auto", "Precision of matrix products in training.", choices=("auto", "fp32", "bf16"), panel="Hardware"
    )
    threads: int | None = setting(
        None, "CPU threads [default: one a physical core].", minimum=1, maximum=4096, panel="Hardware"
    )

    def __post_init__(self) -> None:
        given = [name for name in ("budget", "epochs", "steps") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"give one of --budget, --epochs and --steps, not {' and '.join(map(flag_name, given))}")
        if isinstance(self.budget, str):
            parse_duration(self.budget)
        if (
            self.vocab_size is not None
            and self.tokenizer is not None
            and not takes_option(self.tokenizer, "vocab_size")
        ):
            fitting = " or ".join(name for name in TOKENIZER_NAMES if takes_option(name, "vocab_size"))
            raise UserError(f"--vocab-size needs --tokenizer {fitting}, not {self.tokenizer}")
        cell = CELLS.get(self.cell)  # other cells and activations are refused by `check`
        if cell is not None and self.activation in ACTIVATIONS and self.activation not in cell.activations:
            names = " or ".join(name for name, spec in CELLS.items() if self.activation in spec.activations)
            raise UserError(f"--activation {self.activation} needs --cell {names}, not {self.cell}")
        if self.generative:
            for name in ("direction", "ngrams", "balance", "label_smoothing", "pretrain", "layer_decay", "unfreeze"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise UserError(f"{flag_name(name)} cannot be used with --generative")
        if isinstance(self.stretch, int) and 0 < self.stretch < _LEAST_STRETCH:
            raise UserError(f"--stretch must be 0 or at least {_LEAST_STRETCH}: tempos of music are 6 % apart")
        if isinstance(self.pitch_range, str):
            parse_pitch_range(self.pitch_range)
        if isinstance(self.levels, str):
            parse_levels(self.levels)
        if isinstance(self.lags, str):
            parse_lags(self.lags)
        if isinstance(self.split_rows, str):
            parse_split_rows(self.split_rows)

    def tokenizer_for(self, task: str) -> str:
        """The tokenizer asked for, or the default of a task; a vocabulary size alone asks for one that has it."""
        return self.tokenizer or default_tokenizer(task, self.vocab_size is not None)
