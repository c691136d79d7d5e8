"""What the commands that put a model to work can be told: sampling, answering, composing, evaluating."""

from __future__ import annotations

from dataclasses import dataclass

from seqgen.config.settings import flag_name, parse_event_temperature, parse_levels, parse_logit_bias, setting
from seqgen.errors import UserError

_MUSIC = ("music",)
_WORDS = ("text", "dialogue", "classify")  # what writes words


@dataclass(frozen=True)
class SampleOptions:
    """What sampling can be told. The filters run in the order in which their fields stand here."""

    length: int | None = setting(
        None, "Characters of text, bars of music; the prompt is not counted [default: 500, or 16 bars].", "-l",
        minimum=0, maximum=1 << 40)  # fmt: skip
    ban: tuple[str, ...] = setting((), "Never write this text (repeatable).", metavar="TEXT", tasks=_WORDS)
    grammar: str | None = setting(
        None, "What is written as a whole must match this regular expression.", metavar="REGEX",
        tasks=_WORDS)  # fmt: skip
    logit_bias: tuple[str, ...] = setting(
        (), "Added to the logit of a token, which is named by its text or as #ID: 'x=-2' (repeatable).",
        metavar="TOKEN=X")  # fmt: skip
    repetition_penalty: float = setting(
        1.0, "Divides the logits of tokens among the last --repetition-window (CTRL).", minimum=0.001,
        maximum=1000)  # fmt: skip
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
        tasks=_WORDS)  # fmt: skip
    temperature: float = setting(
        1.0, "Divides the logits; below 1 safer, above 1 wilder, 0 always the likeliest.", "-t", minimum=0)  # fmt: skip
    dynatemp_range: float = setting(
        0.0, "The temperature goes so far below --temperature where the model is sure, so far above where it is not.",
        minimum=0, maximum=100)  # fmt: skip
    dynatemp_exponent: float = setting(
        1.0, "Of the share of the greatest entropy that sets it between the two.", exclusive_minimum=0, maximum=100)  # fmt: skip
    temperature_of: tuple[str, ...] = setting(
        (), "Music: another temperature for choosing among the values of one kind of event, as in 'pitch=1.2' "
        "(repeatable).", metavar="KIND=X", tasks=_MUSIC)  # fmt: skip
    top_k: int = setting(0, "Keep the K likeliest tokens; 0 keeps all.", minimum=0)
    top_p: float = setting(
        1.0, "Keep the likeliest tokens that hold this share (nucleus).", exclusive_minimum=0, maximum=1
    )
    min_p: float = setting(0.0, "Keep tokens at least this share as likely as the likeliest.", minimum=0, maximum=1)
    typical_p: float = setting(
        1.0, "Keep the tokens nearest the expected surprise that hold this share.", exclusive_minimum=0, maximum=1)  # fmt: skip
    xtc_probability: float = setting(
        0.0, "How often the likeliest tokens are left out (XTC); 0 never.", minimum=0, maximum=1)  # fmt: skip
    xtc_threshold: float = setting(
        0.1, "Those with at least this share, but for the least likely of them.", exclusive_minimum=0, maximum=1)  # fmt: skip
    mirostat_tau: float = setting(
        0.0, "Bits of surprise a token to keep to, by cutting more or less (mirostat 2); 0 for none.", minimum=0,
        maximum=100)  # fmt: skip
    mirostat_eta: float = setting(0.1, "How fast mirostat corrects.", exclusive_minimum=0, maximum=10)
    stop: tuple[str, ...] = setting((), "End before this text (repeatable).")
    seed: int = setting(
        0, "Of the random stream; sample i draws from stream (seed, i).", minimum=0, maximum=(1 << 63) - 1
    )

    def __post_init__(self) -> None:
        for name in ("stop", "ban"):
            if any(not text for text in getattr(self, name)):
                raise UserError(f"{flag_name(name)} must not be empty")
        for text in self.logit_bias:
            parse_logit_bias(text)
        for text in self.temperature_of:
            parse_event_temperature(text)

    def length_for(self, task: str) -> int:
        """How much to write: what was asked for, or the default of the task."""
        return self.length if self.length is not None else DEFAULT_LENGTH[task]


@dataclass(frozen=True)
class SearchOptions:
    """How samples are chosen, and what they must not be."""

    best_of: int = setting(
        1, "Draw so many for each sample and keep the likeliest: by log-probability a character, or event of music.",
        minimum=1, maximum=1 << 16)  # fmt: skip
    beam: int = setting(
        0, "Beam search instead of drawing: so many beginnings are gone on with; 0 draws.", minimum=0, maximum=1024,
        tasks=("text", "dialogue", "classify"))  # fmt: skip
    max_copy: int | None = setting(
        None, "Never more than so many characters (notes of music) in a row as in the training corpus.", minimum=1,
        maximum=1024)  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.beam, int) and isinstance(self.best_of, int) and self.beam and self.best_of != 1:
            raise UserError("give --beam or --best-of, not both: beam search draws nothing")


@dataclass(frozen=True)
class EvaluateOptions:
    """What else evaluating can be told. The pieces of music compared are drawn with these settings."""

    pieces: int = setting(
        50, "Music: pieces to compose and compare; 0 composes none.", minimum=0, maximum=10_000, tasks=_MUSIC)  # fmt: skip
    length: int = setting(16, "Music: bars of a piece.", minimum=1, maximum=1000, tasks=_MUSIC)
    temperature: float = setting(1.0, "Of the pieces and replies drawn.", "-t", minimum=0)
    seed: int = setting(0, "Of what is drawn by chance.", minimum=0, maximum=(1 << 63) - 1)
    replies: int = setting(
        200, "Dialogue: replies to give and compare with people's own.", minimum=0, maximum=100_000,
        tasks=("dialogue",))  # fmt: skip
    candidates: int = setting(
        1, "Dialogue: replies to sample for each one given.", minimum=1, maximum=256, tasks=("dialogue",))  # fmt: skip
    mutual: float = setting(
        1.0, "Dialogue: how much a reply's likelihood without the history counts against it.", minimum=0, maximum=1,
        tasks=("dialogue",))  # fmt: skip
    errors: int = setting(
        0, "Labelled texts: tell so many of the most confident mistakes.", minimum=0, maximum=100_000,
        tasks=("classify",))  # fmt: skip
    adaptive: bool = setting(
        False, "Text: also measure a model whose weights follow the text that it reads.", tasks=("text",))  # fmt: skip
    plot: str | None = setting(
        None, "Draw into this PNG file: music's features beside real ones, who was taken for whom.",
        metavar="FILE.png", tasks=("music", "classify"))  # fmt: skip


@dataclass(frozen=True)
class ClassifyOptions:
    """What sorting can be told."""

    top_k: int = setting(1, "How many labels to give a text, the likeliest first.", "-k", minimum=1)
    min_confidence: float = setting(
        0.0, "Say `unknown` where no label is at least so likely.", minimum=0, maximum=1)  # fmt: skip
    format: str = setting("text", "Of what is written.", choices=("text", "jsonl", "fasttext"))


DEFAULT_LENGTH = {"text": 500, "dialogue": 500, "music": 16}  # characters, or bars


@dataclass(frozen=True)
class ReplyOptions:
    """What else answering can be told."""

    candidates: int = setting(
        1, "Replies to sample for each one given: the one that owes most to what was said before.", minimum=1,
        maximum=256)  # fmt: skip
    mutual: float = setting(
        1.0, "How much a candidate's likelihood without the history counts against it.", minimum=0, maximum=1)  # fmt: skip


@dataclass(frozen=True)
class MusicOptions:
    """What else composing can be told."""

    tempo: float | None = setting(None, "Quarter notes a minute [default: the model's own].", minimum=4, maximum=1000)
    key: str | None = setting(None, "Only pitches of this scale: 'D dorian', 'a minor', 'F# major', 'E blues'.")
    instrument: tuple[str, ...] = setting(
        (), "General MIDI name or number; once a melodic track, the last for the rest.")  # fmt: skip


@dataclass(frozen=True)
class ForecastOptions:
    """What forecasting can be told."""

    horizon: int | None = setting(
        None, "Rows ahead [default: as many as the model learnt; beyond, forecasts feed on forecasts].", minimum=1,
        maximum=1 << 20)  # fmt: skip
    levels: str = setting("80,95", "The bands, in percent; none for no bands.", metavar="P,P")
    backtest: int = setting(
        0, "Instead forecast from so many places in the past, each a horizon after the one before.", minimum=0,
        maximum=1 << 20)  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.levels, str):
            parse_levels(self.levels)
