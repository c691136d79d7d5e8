"""Texts and pieces as they are asked for: from a `SampleRequest` to what is written, for the command and for Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen import checkpoint
from seqgen.config import GenerativeConfig, MusicOptions, SampleOptions, SearchOptions, check_task, make_options
from seqgen.errors import ModelError, UserError
from seqgen.generation import prompts
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.beam import GenerationJob
from seqgen.generation.sampling.rules import SamplingRules
from seqgen.generation.state import SavedState
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.generation.copies.text import TextCopyGuard

ReportCallback = Callable[[str], None]


@dataclass(frozen=True)
class SampleRequest:
    """All that samples depend on beside the model and their numbers.

    Attributes:
        stop_at_end: let the model end a text, or a piece, before its length.
        adaptive: let the weights follow the prompt while it is read.
        state: where a text was left that is gone on with; `state_sha256` is of the file that it came from.
        primer: a MIDI file to go on from.
        to_be_continued: whether others go on from the pieces: their last bar is then one that others follow.
    """

    options: SampleOptions = field(default_factory=SampleOptions)
    search: SearchOptions = field(default_factory=SearchOptions)
    music_options: MusicOptions = field(default_factory=MusicOptions)
    prompt: bytes = b""
    label: str | None = None
    stop_at_end: bool = False
    adaptive: bool = False
    state: SavedState | None = None
    state_sha256: str = ""
    primer: bytes | None = None
    to_be_continued: bool = False

    @property
    def batch_size(self) -> int:
        """Texts that are computed side by side for one sample."""
        return max(self.search.best_of, self.search.beam)


def settings(given: Mapping[str, Any], state: SavedState | None = None) -> tuple[SampleOptions, SearchOptions]:
    """What was given by name as the options that have such fields. A text that is gone on with keeps its seed."""
    searching = {item.name for item in dataclasses.fields(SearchOptions)}
    chosen = {name: value for name, value in given.items() if name in searching}
    others = {name: value for name, value in given.items() if name not in searching}
    if state is not None and others.get("seed") is None:
        others["seed"] = state.seed
    return make_options(SampleOptions, others), make_options(SearchOptions, chosen)


def make_request(
    prompt: str | bytes,
    options: Mapping[str, Any],
    label: str | None = None,
    stop_at_end: bool = False,
    state: SavedState | None = None,
) -> SampleRequest:
    """What `Model.sample` is asked for."""
    data = as_bytes(prompt) if isinstance(prompt, str) else prompt
    chosen, search = settings(options, state)
    return SampleRequest(chosen, search, prompt=data, label=label, stop_at_end=stop_at_end, state=state)


def check(model: Model, asked: SampleRequest, count: int = 1, first: int = 0) -> None:
    """Raises `UserError` or `ModelError`, before anything is computed, for what can't be together."""
    given = dataclasses.asdict(asked.search)
    check_task(SearchOptions, given, model.task)
    if asked.search.beam and first + count > asked.search.beam:
        raise UserError(f"--beam {asked.search.beam} finds so many texts at most, and {first + count} are asked for")
    if asked.search.beam and (asked.options.xtc_probability or asked.options.mirostat_tau):
        raise UserError("--beam draws nothing: --xtc-probability and --mirostat-tau have no place in it")
    if asked.state is not None and asked.label is not None:
        raise UserError("--label was chosen when the text was begun; it can't change where --state-in goes on")
    if asked.adaptive and model.task == "music":
        raise UserError("--adaptive is for text; this is a model for music")
    if asked.state is not None and asked.adaptive:
        raise UserError("--adaptive does not go with --state-in: a state is of the model's own weights")
    if asked.state is not None and asked.primer is not None:
        raise UserError("--state-in goes on with a piece, and so takes no --primer")


def check_state_output(model: Model, asked: SampleRequest, count: int) -> None:
    """Raises `UserError` where no state can be left."""
    if count != 1:
        raise UserError("--state-out keeps where one text has got to, and -n asks for more")
    if asked.adaptive:
        raise UserError("--adaptive does not go with --state-out: weights that followed a text are not kept")
    if model.task == "music" and not asked.options.length_for("music"):
        raise UserError("--state-out of music is at the end of a bar: --length 1 or more")


def prepare(
    model: Model, asked: SampleRequest, keep: bool = False, report: ReportCallback = lambda _: None
) -> GenerationJob:
    """Reads what stands before a text, and makes ready to write. With `keep`, and where nothing is to be written, what
    can only be read together with what will follow waits for that."""
    if asked.adaptive:
        model.adapt(asked.prompt)
    hold_incomplete = keep and not asked.options.length_for(model.task)
    prompt = primed(model, asked, hold_incomplete)
    stop_at_end = asked.stop_at_end or asked.label is not None
    guard = None if asked.search.max_copy is None else _guard(model, prompt, asked.search.max_copy, report)
    rules = SamplingRules.of(model.codec, prompt, asked.options, stop_at_end, guard)
    return GenerationJob(model.engine, model.codec, prompt, asked.options, asked.search, rules)


def _guard(model: Model, prompt: Prompt, most: int, report: ReportCallback) -> TextCopyGuard:
    from seqgen.api import copies
    from seqgen.generation.copies.text import TextCopyGuard, TextCopyIndex
    from seqgen.generation.sampling.token_names import spell, visible_token_bytes

    found = copies.load_or_build_copy_index(model, report)
    assert isinstance(found, TextCopyIndex)
    recent = np.array(prompt.primed.history[-8 * most :], dtype=np.int64)  # more than enough
    return TextCopyGuard(found, model.codec, most).after(spell(recent, visible_token_bytes(model.codec)))


def primed(model: Model, asked: SampleRequest, hold_incomplete: bool = False) -> Prompt:
    """What stands before the samples, read.

    Raises:
        ModelError: the model can't write, or not by labels.
        UserError: the label is missing, or not one that it knows.
    """
    codec, network = model.codec, model.checkpoint.network
    if model.task == "dialogue":
        from seqgen.generation import dialogue

        words = model.dialogue_codec()
        if asked.state is not None:
            return dialogue.continue_from(model.engine, words, asked.state, asked.prompt)
        return dialogue.prime(model.engine, words, asked.prompt)
    if not isinstance(network, GenerativeConfig):
        if asked.label is not None:
            raise ModelError(f"--label is for models trained with --generative; this is one for {model.task}")
        if model.task == "classify":
            raise ModelError("this model sorts but can't write; `train --generative` makes one that does both")
        model.require_text_task("write")
    if asked.state is not None:
        return prompts.continue_from(model.engine, codec, asked.state, asked.prompt, hold_incomplete)
    if not isinstance(network, GenerativeConfig):
        return prompts.prime(model.engine, codec, asked.prompt, hold_incomplete)
    if asked.label not in network.labels:
        known = ", ".join(network.labels[:12]) + (" …" if len(network.labels) > 12 else "")
        given = f"; not {asked.label!r}" if asked.label is not None else ""
        raise UserError(f"--label must name one of this model's: {known}{given}")
    return prompts.prime_labelled(model.engine, codec, network.labels.index(asked.label), asked.prompt)


def longest_copy(model: Model) -> Callable[[str], int] | None:
    """What tells how many characters of a text stand in a row in the training corpus; None where the model does not
    keep it."""
    if not (model.checkpoint.folder / checkpoint.CORPUS).exists():
        return None
    from seqgen.api import copies
    from seqgen.generation.copies.text import TextCopyIndex

    found = copies.load_copy_index(model.checkpoint)
    return found.longest_match if isinstance(found, TextCopyIndex) else None
