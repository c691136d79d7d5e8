"""The tokenizers: one table row each, read by every floor.

To add a tokenizer: write a file with a `Codec` (`seqgen.tokenizers.codec`) and a row here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from seqgen.specs.registry import Registry


@dataclass(frozen=True)
class TokenizerSpec:
    """A tokenizer as other floors need to know it. Implementations are dotted names (see `registry.resolve`)."""

    name: str  # "kind" in tokenizer.json
    codec: str  # class with `fit` (or, with `fit_bytes=0`, `from_options`) and `from_dict`
    encodes_text: bool = False  # accepted by --tokenizer, and inside `dialogue` and `labelled`
    task: str | None = None  # task whose sources `tokenize NAME` reads; None: it isn't made without a model
    fit_options: tuple[str, ...] = ()  # fields of `TrainOptions` that `fit` or `from_options` takes
    fit_bytes: int | None = None  # bytes of the corpus that `fit` needs; None: all, 0: none
    vocabulary: str = "by the tokenizer"  # where its size comes from, in a few words
    is_character_level: bool = False  # an id is a character or a byte
    writes_text: bool = True  # ids decode to text
    decodes_text: bool = True  # text is decoded to UTF-8 first; False: its bytes are learnt, in whatever encoding
    encodes_bytes: bool = True  # a codec; False: it scales numbers
    copy_index: str = "seqgen.generation.copies.text:TextCopyIndex"
    grammar_masks: str | None = None  # f(codec) -> masks of the tokens that the grammar allows


TOKENIZERS: Registry[TokenizerSpec] = Registry(
    "tokenizer",
    (
        TokenizerSpec(
            "char", "seqgen.tokenizers.characters:CharCodec", encodes_text=True, task="text", is_character_level=True,
            vocabulary="bytes, and the characters that occur",
        ),
        TokenizerSpec(
            "byte", "seqgen.tokenizers.characters:ByteCodec", encodes_text=True, task="text", is_character_level=True,
            fit_bytes=0, decodes_text=False, vocabulary="one for each byte",
        ),
        TokenizerSpec(
            "subword", "seqgen.tokenizers.subwords:SubwordCodec", encodes_text=True, task="text",
            fit_options=("vocab_size",), fit_bytes=80_000_000, vocabulary="by the size of the corpus",
        ),
        TokenizerSpec(
            "midi", "seqgen.tokenizers.midi:MidiCodec", task="music",
            fit_options=("grid", "velocity_bins", "tracks", "pitch_range", "note_order"), fit_bytes=0,
            writes_text=False, vocabulary="the events of this grid",
            copy_index="seqgen.generation.copies.notes:NoteCopyIndex",
            grammar_masks="seqgen.generation.music.composing:grammar_masks",
        ),
        TokenizerSpec("dialogue", "seqgen.tokenizers.dialogue:DialogueCodec"),
        TokenizerSpec("labelled", "seqgen.tokenizers.labelled:LabelledCodec"),
        TokenizerSpec(
            "series", "seqgen.corpus.series.scaling:Scaler", writes_text=False, encodes_bytes=False
        ),
    ),
)  # fmt: skip


class TextTokenizerNames(Collection[str]):
    """The tokenizers that --tokenizer accepts: a live view, like `TOKENIZERS.keys()`."""

    def __iter__(self) -> Iterator[str]:
        return (name for name, spec in TOKENIZERS.items() if spec.encodes_text)

    def __contains__(self, name: object) -> bool:
        return any(name == each for each in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def takes_option(name: str, option: str) -> bool:
    """Whether a tokenizer is fitted with this field of `TrainOptions`; false for an unknown name."""
    return name in TOKENIZERS and option in TOKENIZERS[name].fit_options
