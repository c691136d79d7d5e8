"""Requests for samples: what they ask for, whether it can be done, and the job that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen import checkpoint
from seqgen.api import states
from seqgen.config import MusicOptions, SampleOptions, SearchOptions, check_task, flag_name, make_options
from seqgen.config.settings import check_option_group
from seqgen.errors import ModelError, UserError
from seqgen.generation import prompts
from seqgen.generation.engines.base import Engine
from seqgen.generation.engines.limited import limited
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.constraints import SamplingRules
from seqgen.generation.sampling.filters import check_beam_options
from seqgen.generation.state import SavedState
from seqgen.specs.registry import resolve
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel
    from seqgen.generation.copies.text import TextCopyGuard

ReportCallback = Callable[[str], None]


@dataclass(frozen=True)
class SampleRequest:
    """Everything that samples depend on besides the model and their indices.

    Attributes:
        stop_at_end: let the model end a text, or a piece, before its length.
        adaptive: fine-tune the weights on the prompt while reading it.
        state: the saved state of a text to continue; `state_sha256` is the digest of its file.
        primer: a file of music to continue.
        to_be_continued: whether the pieces will be continued, so that their last bar must be one others may follow.
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


def settings(given: Mapping[str, Any], state: SavedState | None = None) -> tuple[SampleOptions, SearchOptions]:
    """Split options by name into sampling and search options. By default a continued text keeps its seed."""
    search_names = {item.name for item in dataclasses.fields(SearchOptions)}
    search = {name: value for name, value in given.items() if name in search_names}
    others = {name: value for name, value in given.items() if name not in search_names}
    if state is not None and others.get("seed") is None:
        others["seed"] = state.seed
    return make_options(SampleOptions, others), make_options(SearchOptions, search)


def make_request(
    prompt: str | bytes,
    options: Mapping[str, Any],
    label: str | None = None,
    stop_at_end: bool = False,
    state: SavedState | None = None,
) -> SampleRequest:
    """Make the request of `Model.sample`."""
    data = as_bytes(prompt) if isinstance(prompt, str) else prompt
    sampling, search = settings(options, state)
    return SampleRequest(sampling, search, prompt=data, label=label, stop_at_end=stop_at_end, state=state)


def first_index(request: SampleRequest, given: int | None = None) -> int:
    """The index of the first sample: `given` or, for a text that is continued, that of its random stream.

    Searches draw several candidates for a sample or none, from other streams, and begin at 0.
    """
    if given is None and request.state is not None and not request.search.beam and request.search.best_of == 1:
        return request.state.index
    return given or 0


def check(model: LoadedModel, request: SampleRequest, count: int = 1, first: int = 0) -> None:
    """Raise `UserError` or `ModelError`, before anything is computed, for options that exclude each other."""
    if count < 0 or first < 0:
        raise UserError(f"neither -n ({count}) nor --first ({first}) can be negative")
    check_task(SearchOptions, dataclasses.asdict(request.search), model.task)
    _check_kind(model, request)
    if request.state is not None:
        states.check(model, request.state)
    if request.search.beam and first + count > request.search.beam:
        raise UserError(f"--beam {request.search.beam} finds at most that many texts, not {first + count}")
    if request.search.beam:
        check_beam_options(request.options)
    if request.options.context_cache:
        check_option_group("--context-cache", "context_cache", model.task)
    if request.state is not None and request.label is not None:
        raise UserError("--label is fixed when a text begins; it can't be used with --state-in")
    if request.adaptive and not model.checkpoint.spec.is_plain_text:
        raise UserError(f"--adaptive is for text; this is a model for {model.task}")
    if request.state is not None and request.adaptive:
        raise UserError("--adaptive can't be used with --state-in: a state belongs to the model's own weights")
    if request.state is not None and request.primer is not None:
        raise UserError("--state-in continues a piece, so it can't be used with --primer")


def _check_kind(model: LoadedModel, request: SampleRequest) -> None:
    """Raise `UserError` for what is of music in a request for text, or of text in one for music."""
    given = dataclasses.asdict(request.music_options) | {"primer": request.primer}
    wrong, kind = [flag_name(name) for name, value in given.items() if value], "music"
    if model.checkpoint.spec.composes:
        text = {"--label": request.label is not None, "--prompt": request.prompt, "--stop": request.options.stop}
        wrong, kind = [flag for flag, value in text.items() if value], "text"
    if wrong:
        raise UserError(f"{wrong[0]} is for {kind}; this is a model for {model.task}")


def check_state_output(model: LoadedModel, request: SampleRequest, count: int) -> None:
    """Raise `UserError` if the state after these samples can't be saved."""
    if count != 1:
        raise UserError("--state-out saves the state of one text, and -n asks for more")
    if request.adaptive:
        raise UserError("--adaptive can't be used with --state-out: the adapted weights are not saved")
    least = model.checkpoint.spec.min_state_length
    if request.options.length_for(model.task) < least:
        raise UserError(f"--state-out needs --length {least} or more with a model for {model.task}")


def prepare(
    model: LoadedModel,
    request: SampleRequest,
    keep: bool = False,
    report: ReportCallback = lambda _: None,
    limit: TimeLimit = NO_LIMIT,
) -> GenerationJob:
    """Read the prompt and make the job that generates the samples.

    Args:
        keep: whether the state will be saved. If nothing is generated either, trailing bytes whose tokens depend on
            the bytes to follow stay unread.
        report: called with progress messages.
        limit: asked while the prompt is read.
    """
    if request.adaptive:
        model.adapt(request.prompt)
    options = dataclasses.replace(request.options, length=request.options.length_for(model.task))
    hold_incomplete = keep and not options.length
    prompt = read_prompt(model, request, hold_incomplete, limit)
    stop_at_end = request.stop_at_end or request.label is not None
    guard = None if request.search.max_copy is None else _copy_guard(model, prompt, request.search.max_copy, report)
    rules = SamplingRules.of(model.codec, prompt, options, stop_at_end, guard)
    return GenerationJob(
        engine_for(model, options), model.codec, prompt, options, request.search, rules, model.state_owner
    )


def engine_for(model: LoadedModel, options: SampleOptions, limit: TimeLimit = NO_LIMIT) -> Engine:
    """The engine that draws samples with these options, or reads their prompt while `limit` allows it.

    Raises `UserError` if the model's task excludes the options.
    """
    engine = model.engine if limit is NO_LIMIT else limited(model.engine, limit)
    return model.with_context_cache(engine, options.context_cache)


def _copy_guard(model: LoadedModel, prompt: Prompt, max_copy: int, report: ReportCallback) -> TextCopyGuard:
    from seqgen.api import copies
    from seqgen.generation.copies.text import TextCopyGuard, TextCopyIndex
    from seqgen.generation.sampling.token_names import join_token_bytes, visible_token_bytes

    index = copies.load_or_build_copy_index(model.checkpoint, report)
    assert isinstance(index, TextCopyIndex)
    recent = np.array(prompt.primed.history[-8 * max_copy :], dtype=np.int64)  # more than enough
    return TextCopyGuard(index, model.codec, max_copy).after(join_token_bytes(recent, visible_token_bytes(model.codec)))


def read_prompt(
    model: LoadedModel, request: SampleRequest, hold_incomplete: bool = False, limit: TimeLimit = NO_LIMIT
) -> Prompt:
    """Read the text before the samples: a state, a label and a prompt, as far as the request has them.

    Raises:
        ModelError: the model can't generate text, or not by labels.
        UserError: the label is missing or unknown.
    """
    spec, network = model.checkpoint.spec, model.checkpoint.network_spec
    if request.label is not None and network.prompt is None:
        raise ModelError(f"--label is for models trained with --generative; this is one for {model.task}")
    reader = network.prompt or (spec.prompt if network.predicts_ids else None)
    if reader is None:
        if any(other.prompt for other in spec.networks):
            raise ModelError("this model classifies but can't write; `train --generative` makes one that does both")
        raise ModelError(f"this is a model for {model.task}: it can't write text")
    prompt: Prompt = resolve(reader)(model, request, hold_incomplete, limit)
    return prompt


def prompt_of_text(model: LoadedModel, request: SampleRequest, hold_incomplete: bool, limit: TimeLimit) -> Prompt:
    """Read the beginning of a document, or more of the one in a state."""
    engine = engine_for(model, request.options, limit)
    if request.state is not None:
        return prompts.continue_from(engine, model.codec, request.state, request.prompt, hold_incomplete)
    return prompts.prime(engine, model.codec, request.prompt, hold_incomplete)


def prompt_of_dialogue(model: LoadedModel, request: SampleRequest, hold_incomplete: bool, limit: TimeLimit) -> Prompt:
    """Read the beginning of a conversation, or more of the one in a state."""
    from seqgen.generation import dialogue

    codec, engine = model.dialogue_codec(), engine_for(model, request.options, limit)
    if request.state is not None:
        return dialogue.continue_from(engine, codec, request.state, request.prompt)
    return dialogue.prime(engine, codec, request.prompt)


def prompt_of_label(model: LoadedModel, request: SampleRequest, hold_incomplete: bool, limit: TimeLimit) -> Prompt:
    """Read a label and the beginning of its text, or more of the text in a state."""
    if request.state is not None:
        return prompt_of_text(model, request, hold_incomplete, limit)
    labels = model.checkpoint.classifier_config.labels
    if request.label not in labels:
        known = ", ".join(labels[:12]) + (" …" if len(labels) > 12 else "")
        given = f"; not {request.label!r}" if request.label is not None else ""
        raise UserError(f"--label must be one of this model's labels: {known}{given}")
    return prompts.prime_labelled(
        engine_for(model, request.options, limit), model.codec, labels.index(request.label), request.prompt
    )


def copy_measure(model: LoadedModel) -> Callable[[str], int] | None:
    """A function from a text to the length, in characters, of its longest run copied from the training corpus.

    None if the model folder has no index of the corpus.
    """
    if not (model.checkpoint.folder / checkpoint.CORPUS).exists():
        return None
    from seqgen.api import copies
    from seqgen.generation.copies.text import TextCopyIndex

    index = copies.load_copy_index(model.checkpoint)
    return index.longest_match if isinstance(index, TextCopyIndex) else None
