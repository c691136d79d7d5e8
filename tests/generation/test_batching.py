"""Texts that join and leave one running batch are those that they are alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from seqgen.api import sampling
from seqgen.api.model import Model
from seqgen.automata import dfa
from seqgen.generation import batching
from seqgen.generation.batching import RunningBatch, StepPace
from seqgen.generation.sampling import constraints
from seqgen.generation.text import Sample
from tests.helpers.random_models import ENGINES, Models, load_model

REQUESTS: list[dict[str, Any]] = [
    {"length": 40, "seed": 1},
    {"length": 7, "seed": 2, "temperature": 0.5, "top_k": 5},
    {"length": 60, "seed": 3, "repetition_penalty": 1.3},
    {"length": 25, "seed": 4, "stop": ("e",)},
    {"length": 0, "seed": 5},
    {"length": 33, "seed": 6, "frequency_penalty": 0.4, "mirostat_tau": 3.0},
    {"length": 30, "seed": 7, "grammar": "[a-z ]{1,30}"},
    {"length": 30, "seed": 8, "ban": ("a",)},
    {"length": 30, "seed": 9, "context_cache": 50},
]


def by_steps(model: Model, prompt: str, count: int = 1, **options: Any) -> list[Sample]:
    """Samples of which each id is drawn in a call of its own, as it must be where the state after a text is wanted."""
    return model.sample(prompt, count, on_state=lambda *_: None, **options)


def add(batch: RunningBatch[int], model: Model, number: int, index: int = 0, max_tokens: int | None = None) -> None:
    request = sampling.make_request(f"The {number}", REQUESTS[number])
    job = sampling.prepare(model, request)
    batch.add(number, job, index, max_tokens)


def counted_calls(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that will contain the steps asked for of each call of the kernels."""
    generate, made = type(model.engine).generate, []

    def counted(engine: Any, ids: Any, state: Any, draw: Any, numbers: Any) -> Any:
        made.append(numbers.shape[1])
        return generate(engine, ids, state, draw, numbers)

    monkeypatch.setattr(type(model.engine), "generate", counted)
    return made


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("codec", ["char", "subword"])
def test_running_batch_texts_are_those_that_they_are_alone(engine: str, codec: str, models: Models) -> None:
    model = load_model(models(codec, num_layers=2), engine)
    batch: RunningBatch[int] = RunningBatch()
    rng, waiting, texts, samples = (
        random.Random(3),
        list(range(len(REQUESTS))),
        dict.fromkeys(range(len(REQUESTS)), ""),
        {},
    )
    while waiting or len(batch):
        if waiting and (not len(batch) or rng.random() < 0.3):
            add(batch, model, waiting.pop(0))
        for key, text, done in batch.advance(rng.choice([1, 2, 7])):
            texts[key] += text
            if done is not None:
                samples[key] = done
    for number, options in enumerate(REQUESTS):
        (alone,) = by_steps(model, f"The {number}", **options)
        assert samples[number].sample == alone
        assert texts[number] == alone.text


def test_running_batch_removed_text_disturbs_no_other(models: Models) -> None:
    model = load_model(models("char"))
    batch: RunningBatch[int] = RunningBatch()
    for number in (0, 2, 3):
        add(batch, model, number)
    texts = dict.fromkeys((0, 2, 3), "")
    for step in range(60):
        if step == 5:
            batch.remove(2)
            batch.remove(2)
        for key, text, _ in batch.advance():
            texts[key] += text
    assert len(batch) == 0
    for number in (0, 3):
        assert texts[number] == by_steps(model, f"The {number}", **REQUESTS[number])[0].text


@pytest.mark.parametrize("tokens", [0, 1, 5])
@pytest.mark.parametrize("steps", [1, 4])
def test_running_batch_ends_a_text_after_its_tokens(tokens: int, steps: int, models: Models) -> None:
    model = load_model(models("char"))
    batch: RunningBatch[int] = RunningBatch()
    add(batch, model, 0, max_tokens=tokens)
    add(batch, model, 3, max_tokens=10_000)
    found = {}
    while len(batch):
        found |= {key: done for key, _, done in batch.advance(steps) if done is not None}
    first = found[0].sample
    assert (first.tokens, first.finish_reason) == (tokens, "length")
    assert by_steps(model, "The 0", **REQUESTS[0])[0].text.startswith(first.text)
    assert found[3].sample.text == by_steps(model, "The 3", **REQUESTS[3])[0].text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options", [{"repetition_penalty": 1.2, "stop": ("q",)}, {"grammar": "([a-m ]{3,}[n-z]{1,3})+[.]", "ban": ("th",)}]
)
def test_running_batch_of_many_texts_in_several_threads(
    engine: str, options: dict[str, Any], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(models("char", num_layers=2), engine)
    if hasattr(model.engine, "_threads"):
        monkeypatch.setattr(model.engine, "_threads", 3)
    request = sampling.make_request("The ", {"length": 30, "seed": 4} | options)
    job = sampling.prepare(model, request)
    batch: RunningBatch[int] = RunningBatch()
    for index in range(50):
        batch.add(index, job, index)
    found = {}
    while len(batch):
        found |= {key: done for key, _, done in batch.advance(5) if done is not None}
    alone = by_steps(model, "The ", 50, length=30, seed=4, **options)
    assert [found[index].sample for index in range(50)] == alone
    assert model.sample("The ", 50, length=30, seed=4, **options) == alone


@pytest.mark.parametrize("codec", ["char", "subword"])
def test_running_batch_survives_renumbered_states(codec: str, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(models(codec))
    how: dict[str, Any] = {"length": 60, "seed": 5, "grammar": "([a-m]*a[a-z]{5}( |[.])*)+"}
    wanted = by_steps(model, "The ", 6, **how)
    assert model.sample("The ", 6, **how) == wanted
    monkeypatch.setattr(constraints, "_MAX_CACHED", 0)  # with every call
    assert model.sample("The ", 6, **how) == wanted
    monkeypatch.setattr(dfa, "_MAX_CACHED", 200)
    assert model.sample("The ", 6, **how) == wanted


def test_grammar_takes_few_calls_of_the_kernels_once_its_states_are_known(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(models("char"))
    if not model.engine.generates:
        pytest.skip("without kernels each step is a call")
    made = counted_calls(model, monkeypatch)
    (sample,) = model.sample("The ", length=3000, grammar="([a-z]+ )*")
    assert len(sample.text) > 2900 and len(made) < 200


def test_step_pace_makes_calls_of_the_time_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now, step_seconds, made = 0.0, 0.01, []
    monkeypatch.setattr(batching.time, "monotonic", lambda: now)
    pace = StepPace(most=16, seconds=0.08)
    for step_seconds in (0.01, 0.01, 0.001, 0.001, 1.0, 1.0, 0.02, 0.02):
        with pace as steps:
            now += steps * step_seconds
            made.append(steps)
    assert made == [1, 8, 8, 16, 16, 1, 1, 4]


def test_samples_make_no_steps_beyond_their_length(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(models("char"))
    if not model.engine.generates:
        pytest.skip("without kernels each step is a call")
    made = counted_calls(model, monkeypatch)
    (sample,) = model.sample("The ", length=100)
    assert len(sample.text) == 100 and sum(made) == sample.tokens == 100 and len(made) < 20
