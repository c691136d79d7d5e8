"""The samples of a request: their texts as they become certain, in one batch or in order.

Where the kernels can draw, they make several steps a call (`batching`); else ids come one by one (`sampling.draw`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seqgen.config import SampleOptions
from seqgen.generation.batching import RunningBatch, StepPace
from seqgen.generation.engines.base import Engine
from seqgen.generation.job import GenerationJob
from seqgen.generation.prompts import Prompt
from seqgen.generation.sampling.draw import SamplerState, sample_ids, stream_position
from seqgen.generation.text import FinishedSample, Sample, StateCallback, begin_text, saved_state
from seqgen.tokenizers import Codec

_MAX_STEPS, _CALL_SECONDS = 64, 0.05  # of one call of the kernels: text appears at once, and Ctrl-C has its effect


def generate_rows(
    job: GenerationJob, indices: Sequence[int], keep: bool = False
) -> Iterator[tuple[int, str, FinishedSample | None]]:
    """Generate the samples of `indices` in one batch, as in `stream`.

    Args:
        keep: whether their states are saved.
    """
    if job.by_kernels and not keep:
        yield from _generate_by_kernels(job, indices)
    else:
        yield from _generate_by_steps(job, indices, keep)


def _generate_by_kernels(
    job: GenerationJob, indices: Sequence[int]
) -> Iterator[tuple[int, str, FinishedSample | None]]:
    batch: RunningBatch[int] = RunningBatch()
    for index in indices:
        batch.add(index, job, index)
    pace = StepPace(_MAX_STEPS, _CALL_SECONDS)
    while batch:
        with pace as steps:
            given = batch.advance(steps)
        yield from given


def _generate_by_steps(
    job: GenerationJob, indices: Sequence[int], keep: bool
) -> Iterator[tuple[int, str, FinishedSample | None]]:
    engine, prompt, options, rules = job.engine, job.prompt, job.options, job.rules
    begun = [begin_text(job.codec, prompt, options, rules) for _ in indices]
    streams, row_rules = [text for text, _ in begun], [rule for _, rule in begun]
    constraints = [rule for rule in row_rules if rule is not None]
    open_rows = list(range(len(indices)))
    now = SamplerState()

    def finished(row: int) -> FinishedSample:
        open_rows.remove(row)
        text = streams[row]
        saved = None
        if keep:
            stream = engine.export_stream(
                now.state if text.token_ids else prompt.primed.state, row if text.token_ids else 0
            )
            position = stream_position(now.streams[row]) if text.token_ids else prompt.primed.rng_offset
            limit = now.limits[row] if text.token_ids else prompt.primed.limit
            saved = saved_state(text, job, stream, indices[row], position, limit)
        return FinishedSample(text.sample(indices[row], options.seed), text.log_prob_per_character(), saved)

    for row in tuple(open_rows):
        if streams[row].finish_reason:
            yield indices[row], streams[row].text(), finished(row)
        elif streams[row].text():
            yield indices[row], streams[row].text(), None
    if not open_rows:
        return
    for step in sample_ids(engine, prompt.primed, rules.filters, options.seed, indices, (), constraints, now):
        for row in tuple(open_rows):
            certain = streams[row].push(*step[row], row_rules[row])
            yield indices[row], certain, finished(row) if streams[row].finish_reason else None
        if not open_rows:
            return


def stream(
    job: GenerationJob, indices: Sequence[int], on_state: StateCallback | None = None
) -> Iterator[tuple[int, str, Sample | None]]:
    """Generate samples in one batch, and yield text as it becomes certain.

    Text consists of whole characters; invalid UTF-8 is given as surrogate escapes.

    Args:
        on_state: called with each finished sample and the state from which it can be continued.

    Yields:
        (index, text, finished sample or None); every index ends with its sample.
    """
    for index, text, done in generate_rows(job, indices, on_state is not None):
        if done is not None and on_state is not None and done.saved is not None:
            on_state(done.sample, done.saved)
        yield index, text, None if done is None else done.sample


def stream_in_order(
    job: GenerationJob, count: int, first: int = 0, on_state: StateCallback | None = None
) -> Iterator[tuple[str, Sample | None]]:
    """Generate `count` samples, and yield them one after another: text as it becomes certain, then the `Sample`.

    They are computed in batches of `engine.batch_size`; the text of a later one is buffered until its turn.
    """
    size = job.engine.batch_size
    for start in range(first, first + count, size):
        indices = range(start, min(start + size, first + count))
        waiting: dict[int, list[tuple[str, Sample | None]]] = {index: [] for index in indices}
        current = start
        for index, text, sample in stream(job, indices, on_state):
            waiting[index].append((text, sample))
            while waiting.get(current):
                text, sample = waiting[current].pop(0)
                yield text, sample
                current += sample is not None


def samples(
    engine: Engine,
    codec: Codec,
    prompt: Prompt,
    options: SampleOptions,
    count: int = 1,
    first: int = 0,
    stop_at_end: bool = False,
) -> Iterator[Sample]:
    """Generate whole samples, in order."""
    job = GenerationJob.of(engine, codec, prompt, options, stop_at_end)
    for _, sample in stream_in_order(job, count, first):
        if sample is not None:
            yield sample
