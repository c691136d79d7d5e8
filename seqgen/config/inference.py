"""Options of the commands that use a model: sample, chat, classify, forecast, evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config.settings import flag_name, parse_event_temperature, parse_levels, parse_logit_bias, setting
from seqgen.errors import UserError
from seqgen.specs.tasks import TASKS


@dataclass(frozen=True)
class SampleOptions:
    """What sampling can be told. The filters run in the order in which their fields stand here."""

    length: int | None = setting(
        None, "Length without the prompt: characters of text or bars of music [default: 500, or 16 bars].", "-l",
        minimum=0, maximum=1 << 40)  # fmt: skip
    ban: tuple[str, ...] = setting((), "Text that is never written (repeatable).", metavar="TEXT", group="text_output")
    grammar: str | None = setting(
        None, "Regular expression that the whole sample must match.", metavar="REGEX", group="text_output"
    )
    logit_bias: tuple[str, ...] = setting(
        (), "Added to the logit of a token, which is named by its text or as #ID: 'x=-2' (repeatable).",
        metavar="TOKEN=X")  # fmt: skip
    repetition_penalty: float = setting(
        1.0, "Divides the logits of tokens among the last --repetition-window (CTRL).", minimum=0.001, maximum=1000
    )
    repetition_window: int = setting(64, "How many tokens back the penalty looks.", minimum=1, maximum=1 << 20)
    dry_multiplier: float = setting(
        0.0, "Taken from the logit of a token that would go on repeating what came before, times --dry-base to the "
        "power of how much longer the repetition is than --dry-allowed-length (DRY); 0 takes nothing.", minimum=0,
        maximum=100)  # fmt: skip
    dry_base: float = setting(1.75, "How fast that grows with each token repeated.", minimum=1, maximum=100)
    dry_allowed_length: int = setting(
        2, "Tokens that a repetition may have before it costs.", minimum=1, maximum=1 << 20
    )
    dry_window: int = setting(1024, "How many tokens back repetitions are looked for.", minimum=1, maximum=1 << 20)
    dry_breaker: tuple[str, ...] = setting(
        ("\n", ":", '"', "*"), "No repetition goes on across this text (repeatable; '' for none).", metavar="TEXT",
        group="text_output")  # fmt: skip
    temperature: float = setting(
        1.0, "Divides the logits; below 1 safer, above 1 wilder, 0 always the likeliest.", "-t", minimum=0
    )
    dynatemp_range: float = setting(
        0.0, "The temperature goes so far below --temperature where the model is sure, so far above where it is not.",
        minimum=0, maximum=100)  # fmt: skip
    dynatemp_exponent: float = setting(
        1.0, "Of the share of the greatest entropy that sets it between the two.", exclusive_minimum=0, maximum=100
    )
    temperature_of: tuple[str, ...] = setting(
        (), "Music: another temperature for choosing among the values of one kind of event, as in 'pitch=1.2' "
        "(repeatable).", metavar="KIND=X", group="music")  # fmt: skip
    top_k: int = setting(0, "Keep the K likeliest tokens; 0 keeps all.", minimum=0)
    top_p: float = setting(
        1.0, "Keep the likeliest tokens that hold this share (nucleus).", exclusive_minimum=0, maximum=1
    )
    min_p: float = setting(0.0, "Keep tokens at least this share as likely as the likeliest.", minimum=0, maximum=1)
    typical_p: float = setting(
        1.0, "Keep the tokens nearest the expected surprise that hold this share.", exclusive_minimum=0, maximum=1
    )
    xtc_probability: float = setting(
        0.0, "How often the likeliest tokens are left out (XTC); 0 never.", minimum=0, maximum=1
    )
    xtc_threshold: float = setting(
        0.1, "Those with at least this share, but for the least likely of them.", exclusive_minimum=0, maximum=1
    )
    mirostat_tau: float = setting(
        0.0, "Bits of surprise a token to keep to, by cutting more or less (mirostat 2); 0 for none.", minimum=0,
        maximum=100)  # fmt: skip
    mirostat_eta: float = setting(0.1, "How fast mirostat corrects.", exclusive_minimum=0, maximum=10)
    stop: tuple[str, ...] = setting((), "Stop string: the sample ends before this text (repeatable).")
    seed: int = setting(0, "Random seed; sample i uses the random stream (seed, i).", minimum=0, maximum=(1 << 63) - 1)

    def __post_init__(self) -> None:
        for name in ("stop", "ban"):
            if any(not text for text in getattr(self, name)):
                raise UserError(f"{flag_name(name)} must not be empty")
        for text in self.logit_bias:
            parse_logit_bias(text)
        for text in self.temperature_of:
            parse_event_temperature(text)

    def length_for(self, task: str) -> int:
        """The length asked for, or the default of the task."""
        return self.length if self.length is not None else TASKS.find(task).default_length


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search for samples."""

    best_of: int = setting(
        1, "Candidates to draw for each sample, of which the likeliest a character (or event of music) is kept.",
        minimum=1, maximum=1 << 16)  # fmt: skip
    beam: int = setting(
        0, "Beam width of a beam search instead of random sampling; 0 for none.", minimum=0, maximum=1024,
        group="text_output")  # fmt: skip
    max_copy: int | None = setting(
        None, "Longest run of characters (or notes of music) to copy from the training corpus [default: no limit].",
        minimum=1, maximum=1024)  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.beam, int) and isinstance(self.best_of, int) and self.beam and self.best_of != 1:
            raise UserError("give --beam or --best-of, not both: beam search draws no random samples")


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `evaluate`."""

    pieces: int = setting(
        50, "Music: pieces to generate and compare with the test set; 0 for none.", minimum=0, maximum=10_000,
        group="music")  # fmt: skip
    length: int = setting(16, "Music: length of a generated piece in bars.", minimum=1, maximum=1000, group="music")
    temperature: float = setting(1.0, "Temperature of generated pieces and replies.", "-t", minimum=0)
    seed: int = setting(0, "Random seed.", minimum=0, maximum=(1 << 63) - 1)
    replies: int = setting(
        200, "Dialogue: replies to generate and compare with the test set's.", minimum=0, maximum=100_000,
        group="replies")  # fmt: skip
    candidates: int = setting(
        1, "Dialogue: candidates to sample for each reply.", minimum=1, maximum=256, group="replies"
    )
    mutual: float = setting(
        1.0, "Dialogue: weight of a candidate's likelihood without the history, subtracted from that with it.",
        minimum=0, maximum=1, group="replies")  # fmt: skip
    errors: int = setting(
        0, "Labelled texts: number of most confident mistakes to list.", minimum=0, maximum=100_000, group="labels"
    )
    adaptive: bool = setting(
        False, "Text: also measure with weights updated along the text (dynamic evaluation).", group="adaptive"
    )
    plot: str | None = setting(
        None, "PNG file: features of generated and reference pieces, or the confusion matrix.", metavar="FILE.png",
        group="plot")  # fmt: skip


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify`."""

    top_k: int = setting(1, "Labels to print for a text, the most probable first.", "-k", minimum=1)
    min_confidence: float = setting(0.0, "Probability below which the label is `unknown`.", minimum=0, maximum=1)
    format: str = setting("text", "Output format.", choices=("text", "jsonl", "fasttext"))


@dataclass(frozen=True)
class ReplyOptions:
    """Options of replies in a conversation."""

    candidates: int = setting(
        1, "Candidates to sample for each reply, of which the one that depends most on the conversation is given.",
        minimum=1, maximum=256)  # fmt: skip
    mutual: float = setting(
        1.0, "Weight of a candidate's likelihood without the history, subtracted from that with it.", minimum=0,
        maximum=1)  # fmt: skip


@dataclass(frozen=True)
class MusicOptions:
    """Options of composing."""

    tempo: float | None = setting(
        None, "Quarter notes a minute [default: chosen by the model].", minimum=4, maximum=1000
    )
    key: str | None = setting(None, "Scale to stay in: 'D dorian', 'a minor', 'F# major', 'E blues'.")
    instrument: tuple[str, ...] = setting(
        (), "General MIDI name or number of a melodic track (repeatable); the last applies to the remaining tracks."
    )


@dataclass(frozen=True)
class ForecastOptions:
    """Options of `forecast`."""

    horizon: int | None = setting(
        None, "Rows to forecast [default: those of training]; further rows are forecast from forecasts.", minimum=1,
        maximum=1 << 20)  # fmt: skip
    levels: str = setting("80,95", "Prediction intervals, in percent, or none.", metavar="P,P")
    backtest: int = setting(
        0, "Number of past origins, a horizon apart, to forecast from instead of the last row.", minimum=0,
        maximum=1 << 20)  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.levels, str):
            parse_levels(self.levels)
