"""Large bodies and answers: other requests go on meanwhile, and one takes no memory out of proportion."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from seqgen.server import answers, bodies, generating, models, predicting, state
from seqgen.server.errors import HttpError
from seqgen.server.state import LARGE
from tests.helpers.random_models import Models
from tests.helpers.server import Served, serving


@pytest.fixture(scope="module")
def text_model(models: Models) -> Path:
    return models("char", num_layers=2)


@pytest.fixture(scope="module")
def served(text_model: Path, models: Models, zoo: dict[str, Path]) -> Iterator[Served]:
    with serving([text_model, models("dialogue", "dialogue"), zoo["classify"]]) as found:
        yield found


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[str]]:
    """Notes in which threads a function of a module is called."""

    def watch(module: Any, name: str) -> list[str]:
        function, names = getattr(module, name), list[str]()

        def noted(*given: Any, **named: Any) -> Any:
            names.append(threading.current_thread().name)
            return function(*given, **named)

        monkeypatch.setattr(module, name, noted)
        return names

    return watch


def test_large_bodies_are_parsed_beside_the_event_loop(
    served: Served, text_model: Path, threads: Callable[[Any, str], list[str]]
) -> None:
    parsed = threads(bodies, "parse_json")
    asked = {"model": text_model.name, "prompt": "a", "max_tokens": 1}
    for user in ("a", "a" * LARGE):
        assert served.ask("/v1/completions", {**asked, "user": user}).status == 200
    small, large = parsed
    assert large.startswith("requests") and not small.startswith("requests")


@pytest.mark.parametrize("stream", [False, True])
def test_large_answers_are_rendered_beside_the_event_loop(
    stream: bool, served: Served, text_model: Path, threads: Callable[[Any, str], list[str]]
) -> None:
    asked = {"model": text_model.name, "max_tokens": 1, "echo": True, "stream": stream, "seed": 1}
    rendered = threads(generating, "json_bytes" if stream else "json_answer")
    assert served.ask("/v1/completions", {**asked, "prompt": "a"}).status == 200
    assert not rendered, "small ones need no thread"
    answer = served.ask("/v1/completions", {**asked, "prompt": "a" * (LARGE + 1)})
    choices = [event["choices"][0] for event in answer.events] if stream else answer.json["choices"]
    assert "".join(choice["text"] for choice in choices).startswith("a" * LARGE)
    (thread,) = rendered
    assert thread.startswith("requests")
    assert served.ask("/v1/completions", {**asked, "prompt": "a", "logprobs": 2}).status == 200
    assert len(rendered) == 2 and rendered[1].startswith("requests")


def test_answers_have_the_same_json_from_a_thread() -> None:
    content = {"a": [1, 2.5, {"text": "天\u2028\n"}], "b": None, "c": True}
    assert answers.json_bytes(content) == json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


SAYS = {"role": "user", "content": "a"}
BEYOND: list[tuple[str, dict[str, Any], str]] = [
    ("completions", {"prompt": "a" * (1 << 16), "n": 128, "echo": True, "stop": "b"}, "it is allowed"),
    ("completions", {"prompt": "a" * ((1 << 16) + 1), "n": 128, "echo": True}, "`echo` would repeat 8,388,736"),
    ("completions", {"logprobs": 20, "max_tokens": 12_484}, "the `logprobs` of 262,164 tokens and alternatives"),
    ("completions", {"logprobs": 20, "length": 12_484}, "the `logprobs` of 262,164"),
    ("completions", {"logprobs": 0, "max_tokens": 9, "stop": "a", "length": 1 << 18}, "it is allowed"),
    ("completions", {"logit_bias": {str(each): 1 for each in range(1025)}}, "`logit_bias` has 1,025 ids"),
    ("completions", {"user": [0] * (1 << 18)}, "it has more than 262,144 values"),
    ("completions", {"prompt": ',[{\\"' * 100_000, "user": ",[{" * 100_000, "zzz": 1}, "there is no field 'zzz'"),
    ("score", {"input": ["a" * (1 << 17), "a" * (1 << 17), "a"], "per_token": True}, "would list 262,145 tokens"),
]


@pytest.mark.parametrize(("path", "body", "message"), BEYOND)
def test_answer_beyond_bounds_is_refused(
    path: str, body: dict[str, Any], message: str, served: Served, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jobs(*_: Any) -> list[Any]:
        raise HttpError(503, "it is allowed")

    monkeypatch.setattr(generating._Completion, "jobs", jobs)
    answer = served.ask(f"/v1/{path}", {"model": text_model.name, **body})
    assert (answer.status, message in answer.message) == (503 if message == "it is allowed" else 400, True)


def test_replies_and_labels_beyond_bounds_are_refused(
    served: Served, models: Models, zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "MAX_LISTED", 5)
    monkeypatch.setattr(predicting, "MAX_LISTED", 2)
    chat = {"model": models("dialogue", "dialogue").name, "messages": [SAYS], "grammar": "aaaa", "candidates": 1}
    assert served.ask("/v1/chat/completions", {**chat, "logprobs": True}).status == 200
    assert served.ask("/v1/chat/completions", {**chat, "n": 2}).status == 200
    answer = served.ask("/v1/chat/completions", {**chat, "n": 2, "logprobs": True})
    assert (answer.status, "`logprobs` of" in answer.message) == (400, True)
    texts = {"model": zoo["classify"].name, "input": ["a"] * 3}
    assert served.ask("/v1/classify", {**texts, "input": ["a"] * 2}).status == 200
    answer = served.ask("/v1/classify", texts)
    assert (answer.status, "send less `input`" in answer.message) == (400, True)


def test_long_names_are_cut_before_others_are_suggested(
    served: Served, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    for module in (bodies, models):
        monkeypatch.setattr(module, "did_you_mean", lambda name, _: lengths.append(len(name)) or "")
    assert served.ask("/v1/completions", {"model": "x" * 1000}).status == 404
    assert served.ask("/v1/completions", {"model": text_model.name, "x" * 1000: 1}).status == 400
    assert lengths == [80, 60]


def test_text_of_a_request_in_an_error_is_cut_before_it_is_searched(served: Served) -> None:
    error = served.state.error_of(ValueError("a")), served.state._without_folders("a" * 1_000_000)
    assert error[0].status == 500 and len(error[1]) == state._MAX_MESSAGE


def test_a_thousand_requests_may_wait_for_a_thread(served: Served, text_model: Path) -> None:
    """As many as there may be texts that wait for their turn."""
    waiting = served.state
    waiting._queued += models._MAX_WAITING - 1
    try:
        assert served.ask("/v1/completions", {"model": text_model.name, "max_tokens": 1}).status == 200
        waiting._queued += 1
        assert served.ask("/v1/completions", {"model": text_model.name, "max_tokens": 1}).status == 429
    finally:
        waiting._queued -= models._MAX_WAITING
