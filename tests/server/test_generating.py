"""Texts and replies over HTTP, as the clients of OpenAI's API ask for them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import seqgen
from seqgen.config import ChatOptions, ReplyOptions
from seqgen.errors import UserError
from seqgen.generation.batching import BatchedText, RunningBatch
from seqgen.generation.dialogue import ChatSession
from seqgen.generation.engines import context_cache
from seqgen.generation.sampling.filters import log_softmax
from seqgen.server import generating, texts
from seqgen.server.errors import HttpError
from seqgen.server.texts import TextDelta, TextRequest, TextWorker
from tests.helpers.random_models import Models
from tests.helpers.server import Served, serving
from tests.helpers.waiting import PATIENCE, eventually


@pytest.fixture(scope="module")
def text_model(models: Models) -> Path:
    return models("char", num_layers=2)


@pytest.fixture(scope="module")
def served(text_model: Path, models: Models) -> Iterator[Served]:
    with serving([text_model, models("dialogue", "dialogue"), models("subword")]) as found:
        yield found


def name(path: Path) -> str:
    return path.name


def test_completions_are_the_texts_of_the_model(served: Served, text_model: Path) -> None:
    asked = {"prompt": "The old", "n": 3, "length": 50, "seed": 5, "temperature": 0.8, "top_k": 9}
    answer = served.ask("/v1/completions", {"model": name(text_model), **asked}).json
    wanted = seqgen.load(text_model).sample("The old", 3, length=50, seed=5, temperature=0.8, top_k=9)
    assert [choice["text"] for choice in answer["choices"]] == [sample.text for sample in wanted]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == sum(sample.tokens for sample in wanted)
    assert (answer["object"], answer["model"], answer["seed"]) == ("text_completion", name(text_model), 5)


def test_completions_streamed_pieces_are_the_whole_text(served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": ["The", "It"], "n": 2, "length": 200, "seed": 9}
    whole = served.ask("/v1/completions", asked).json["choices"]
    events = served.ask("/v1/completions", {**asked, "stream": True}).events
    texts, reasons = [""] * 4, [None] * 4
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
            reasons[choice["index"]] = choice["finish_reason"]
    assert texts == [choice["text"] for choice in whole]
    assert reasons == ["length"] * 4
    assert all(event["choices"] for event in events)
    *_, last = served.ask(
        "/v1/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}}
    ).events
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 800


def test_completions_same_seed_same_text_in_a_crowd(served: Served, text_model: Path) -> None:
    def ask(number: int) -> str:
        length = 40 + 17 * number % 90
        asked = {"model": name(text_model), "prompt": f"No {number}", "length": length, "seed": number}
        return str(served.ask("/v1/completions", asked).json["choices"][0]["text"])

    alone = [ask(number) for number in range(24)]
    crowd: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: crowd.update({n: ask(n)})) for n in range(24)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [crowd[number] for number in range(24)] == alone


def test_completions_tokens_stops_and_echo(served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": "The", "seed": 2, "temperature": 0}
    (long,) = served.ask("/v1/completions", {**asked, "max_tokens": 30}).json["choices"]
    assert long["finish_reason"] == "length"
    (short,) = served.ask("/v1/completions", {**asked, "max_tokens": 7}).json["choices"]
    assert long["text"].startswith(short["text"])
    stop = long["text"][10:12]
    (stopped,) = served.ask("/v1/completions", {**asked, "stop": stop, "echo": True}).json["choices"]
    assert stopped["finish_reason"] == "stop"
    assert stopped["text"] == "The" + long["text"][: long["text"].index(stop)]


@pytest.mark.parametrize("codec", ["char", "dialogue"])
@pytest.mark.parametrize("prompt", ["Hello", "a\ud83d"])  # JavaScript cuts texts within a character
def test_completions_echo_is_the_same_streamed_and_whole(
    codec: str, prompt: str, served: Served, text_model: Path, models: Models
) -> None:
    folder = text_model if codec == "char" else models("dialogue", "dialogue")
    asked = {"model": name(folder), "prompt": prompt, "echo": True, "seed": 1, "length": 10}
    (whole,) = served.ask("/v1/completions", asked).json["choices"]
    events = served.ask("/v1/completions", {**asked, "stream": True}).events
    assert "".join(event["choices"][0]["text"] for event in events) == whole["text"]
    assert whole["text"].startswith(("A: " if codec == "dialogue" else "") + prompt.replace("\ud83d", "\ufffd"))


def test_completions_grammar_matches_within_the_most_tokens(served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": "The", "seed": 2, "max_tokens": 9, "grammar": "([a-z]{4})*"}
    for choice in served.ask("/v1/completions", {**asked, "n": 5}).json["choices"]:
        assert re.fullmatch("([a-z]{4})*", choice["text"])


def test_completions_logprobs_are_those_of_the_tokens(served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": "The", "seed": 2, "max_tokens": 12, "logprobs": 3}
    (choice,) = served.ask("/v1/completions", asked).json["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    assert all(len(top) == 4 for top in found["top_logprobs"])
    assert found["text_offset"][0] == 0
    (sample,) = seqgen.load(text_model).sample("The", seed=2, length=12)
    assert sum(found["token_logprobs"]) == pytest.approx(sample.log_probability, abs=0.2)  # 8 bits, and exactly
    *_, last = served.ask("/v1/completions", {**asked, "stream": True}).events
    assert last["choices"][0]["logprobs"] == found


def test_logprobs_of_tokens_that_are_parts_of_a_character(served: Served, models: Models) -> None:
    asked: dict[str, Any] = {"model": name(models("subword")), "prompt": "a", "grammar": "x一二y", "length": 4}
    (choice,) = served.ask("/v1/completions", {**asked, "logprobs": 0}).json["choices"]
    assert choice["text"] == "x一二y"
    assert choice["logprobs"]["text_offset"] == [0, 1, 1, 1, 2, 2, 2, 3]
    assert choice["logprobs"]["tokens"][1] == r"\xe4"
    (choice,) = served.ask("/v1/completions", {**asked, "logprobs": 0, "echo": True}).json["choices"]
    assert choice["logprobs"]["text_offset"] == [1, 2, 2, 2, 3, 3, 3, 4]
    said = {"model": name(models("dialogue", "dialogue")), "messages": [{"role": "user", "content": "Hello"}]}
    (choice,) = served.ask("/v1/chat/completions", {**said, "grammar": "a一b", "logprobs": True}).json["choices"]
    written = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
    assert written.decode() == "a一b"


def test_completions_logit_bias_by_id(served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": "The", "max_tokens": 5, "temperature": 0, "logit_bias": {"5": 100}}
    (choice,) = served.ask("/v1/completions", asked).json["choices"]
    assert len(set(choice["text"])) == 1


def test_completions_with_a_large_cache_take_turns_within_its_memory(
    served: Served, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_cache, "_MAX_MEMORY", 1 << 22)  # of one text or two
    asked = {"model": name(text_model), "length": 5, "seed": 3, "context_cache": 1 << 14}
    refused = served.ask("/v1/completions", {**asked, "prompt": ["x"] * 9})
    assert refused.status == 400 and "`context_cache` of 16,384 allows" in refused.message
    sizes, advance = list[int](), RunningBatch.advance
    monkeypatch.setattr(RunningBatch, "advance", lambda *given: sizes.append(len(given[0])) or advance(*given))
    texts = [one["text"] for one in served.ask("/v1/completions", {**asked, "prompt": "x", "n": 9}).json["choices"]]
    assert 1 <= max(sizes) <= 2
    wanted = seqgen.load(text_model).sample("x", 9, length=5, seed=3, context_cache=1 << 14)
    assert texts == [sample.text for sample in wanted]


def test_chat_replies_are_those_of_a_conversation(served: Served, models: Models) -> None:
    folder = models("dialogue", "dialogue")
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "So?"}]},
    ]
    asked = {"model": name(folder), "messages": messages, "seed": 3, "candidates": 1}
    answer = served.ask("/v1/chat/completions", asked).json
    talk = seqgen.load(folder).conversation(ChatOptions(seed=3), ReplyOptions(candidates=1))
    talk.hear("Hello")
    talk.hear("Hi", 1)
    talk.hear("So?")
    *_, reply = talk.reply()
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": reply.text}  # type: ignore[union-attr]
    read = sum(len(talk.codec.encode_turn(who, words.encode())) for who, words in ((0, "Hello"), (1, "Hi"), (0, "So?")))
    assert answer["usage"]["prompt_tokens"] == read
    assert answer["usage"]["total_tokens"] == read + reply.tokens  # type: ignore[union-attr]
    counted = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    assert served.ask("/v1/chat/completions", counted).events[-1]["usage"] == answer["usage"]
    events = served.ask("/v1/chat/completions", {**asked, "stream": True}).events
    deltas = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(deltas).strip() == reply.text  # type: ignore[union-attr]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_chat_several_replies_read_the_history_once(
    served: Served, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, heard = models("dialogue", "dialogue"), []
    hear = ChatSession.hear
    monkeypatch.setattr(ChatSession, "hear", lambda talk, *turn: heard.append(turn) or hear(talk, *turn))
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "So?"}]  # fmt: skip
    asked = {"model": name(folder), "messages": messages, "seed": 3, "n": 3, "candidates": 1}
    choices = served.ask("/v1/chat/completions", asked).json["choices"]
    assert heard == [("Hello", 0), ("Hi", 1), ("So?", 0)]
    model = seqgen.load(folder)
    for number, choice in enumerate(choices):  # each is the reply of a conversation of its own
        talk = model.conversation(ChatOptions(seed=3), ReplyOptions(candidates=1))
        talk.start_at(number)
        for words, speaker in heard[:3]:
            hear(talk, words, speaker)
        *_, reply = talk.reply()
        assert choice["message"]["content"] == reply.text  # type: ignore[union-attr]
    assert len({choice["message"]["content"] for choice in choices}) > 1


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_chat_replies_end_at_a_stop_string_or_the_most_tokens(
    candidates: int, stream: bool, served: Served, models: Models
) -> None:
    def reply(**more: Any) -> tuple[str, str, dict[str, int]]:
        asked = {"model": name(models("dialogue", "dialogue")), "messages": [{"role": "user", "content": "Hello"}],
                 "seed": 3, "candidates": candidates, "stream": stream, **more}  # fmt: skip
        if not stream:
            answer = served.ask("/v1/chat/completions", asked).json
            return answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"], answer["usage"]
        asked["stream_options"] = {"include_usage": True}
        *events, last = served.ask("/v1/chat/completions", asked).events
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        return text.strip(), events[-1]["choices"][0]["finish_reason"], last["usage"]

    whole, reason, usage = reply()
    assert reason == "stop" and len(whole) >= 5
    stop = whole[-2:]
    assert reply(stop=stop)[:2] == (whole[: whole.index(stop)].strip(), "stop")
    codec = seqgen.load(models("dialogue", "dialogue")).codec
    short, reason, used = reply(max_tokens=3)
    assert (reason, used["completion_tokens"]) == ("length", len(codec.encode(short.encode())))
    assert whole.startswith(short) and 1 <= used["completion_tokens"] <= 3
    assert reply(max_completion_tokens=1000) == (whole, "stop", usage)
    ends = {str(token): -100 for token in [*range(codec.speakers), codec.end]}  # type: ignore[attr-defined]
    _, reason, used = reply(logit_bias=ends)  # cut at the most tokens of any reply
    assert reason == "length" and used["completion_tokens"] > 300 > len(whole)


def test_chat_stream_has_no_blank_at_its_end(served: Served, models: Models) -> None:
    asked = {"model": name(models("dialogue", "dialogue")), "messages": [{"role": "user", "content": "Hello"}],
             "grammar": " ?I  o ", "candidates": 1, "stream": True}  # fmt: skip
    events = served.ask("/v1/chat/completions", asked).events
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "I  o"


def test_chat_logprobs_are_those_of_the_reply(served: Served, models: Models) -> None:
    asked = {"model": name(models("dialogue", "dialogue")), "messages": [{"role": "user", "content": "Hello"}],
             "seed": 3, "candidates": 1, "logprobs": True, "top_logprobs": 2}  # fmt: skip
    (choice,) = served.ask("/v1/chat/completions", asked).json["choices"]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    talk = seqgen.load(models("dialogue", "dialogue")).conversation(ChatOptions(seed=3), ReplyOptions(candidates=1))
    talk.hear("Hello")
    *_, reply = talk.reply()
    primed = talk.before_last_turn()
    logits, _ = talk.engine.step(np.array([primed.last]), primed.state)
    first = talk.codec.encode(reply.text.encode())[0]  # type: ignore[union-attr]
    wanted = float(log_softmax(logits[0].astype(np.float64))[first])
    assert content[0]["logprob"] == pytest.approx(wanted, abs=1e-4)
    assert [len(entry["top_logprobs"]) for entry in content] == [2] * len(content)
    events = served.ask("/v1/chat/completions", {**asked, "stream": True}).events
    assert events[-1]["choices"][0]["logprobs"] == choice["logprobs"]


def worker_of(served: Served, path: Path) -> TextWorker:
    return served.state.models.find(name(path)).worker


@pytest.mark.parametrize("stream", [True, False])
def test_completions_client_that_goes_away_frees_its_place(stream: bool, served: Served, text_model: Path) -> None:
    asked = {"model": name(text_model), "prompt": "x", "length": 1_000_000, "stream": stream}
    batch = worker_of(served, text_model)._batch
    with served.send("/v1/completions", asked):
        assert eventually(lambda: len(batch) == 1)
    assert eventually(lambda: len(batch) == 0)


def test_stream_whose_client_goes_away_before_it_begins_is_ended(served: Served) -> None:
    ended: list[bool] = []

    async def events() -> AsyncIterator[dict[str, Any]]:
        raise AssertionError("it begins")
        yield {}

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(60)  # it has not read the answer before

    stream = generating._stream(served.state, events(), lambda: ended.append(True))
    asyncio.run(cast(Any, stream({"type": "http"}, receive, send)))
    assert ended == [True]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_prompt_of_a_client_that_goes_away_is_read_no_further(
    path: str, served: Served, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, long, busy_until = models("dialogue", "dialogue"), "x" * 1_000_000, 0.0

    def read(engine: Any, ids: Any, state: Any) -> Any:
        nonlocal busy_until
        busy_until = time.monotonic() + len(ids) / 20_000
        time.sleep(len(ids) / 20_000)
        return state

    monkeypatch.setattr(type(seqgen.load(folder).engine), "read", read)
    asked = {"prompt": long} if path == "/v1/completions" else {"messages": [{"role": "user", "content": long}]}
    with served.send(path, {"model": name(folder), **asked}):
        assert eventually(lambda: busy_until)
    assert eventually(lambda: time.monotonic() > busy_until + 0.5, seconds=10)


class FakeBatch:
    """Notes who joins, and ends each text after one step, once `released`."""

    def __init__(self) -> None:
        self.joined: list[str] = []
        self.members: list[Any] = []
        self.filled: list[float] = []  # the part of the batch that was, at each step
        self.released = threading.Event()

    def add(self, key: tuple[TextRequest, int], *_: Any) -> None:
        self.joined.append(key[0].client)
        self.members.append(key)

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.members))

    def remove(self, key: Any) -> None: ...

    def advance(self, steps: int) -> list[BatchedText[Any]]:
        self.released.wait(20)
        self.filled.append(sum(1 / request.jobs[0].engine.batch_size for request, _ in self.members))
        done, self.members = self.members, []
        return [BatchedText(key, "x", None) for key in done]


def job_of(batch_size: int, context_cache: int = 0) -> Any:
    options = SimpleNamespace(context_cache=context_cache)
    return SimpleNamespace(engine=SimpleNamespace(batch_size=batch_size), options=options)


def test_text_worker_clients_take_turns() -> None:
    async def scenario() -> list[str]:
        batch = FakeBatch()
        worker = TextWorker(cast("Any", batch), max_waiting=100)
        job = job_of(batch_size=1)
        for client, count in (("a", 5), ("b", 2), ("c", 1)):
            worker.submit(TextRequest(client, [job], count, None, time.monotonic() + 60))
            while not batch.joined:
                await asyncio.sleep(0.005)
        batch.released.set()
        while len(batch.joined) < 8:
            await asyncio.sleep(0.005)
        worker.stop()
        return batch.joined

    assert "".join(asyncio.run(asyncio.wait_for(scenario(), PATIENCE))) == "aabcabaa"


def test_text_worker_texts_of_a_request_that_is_cancelled_wait_no_longer() -> None:
    async def scenario() -> str:
        batch = FakeBatch()
        worker = TextWorker(cast("Any", batch), max_waiting=4)
        job = job_of(batch_size=1)

        def submit(client: str, count: int) -> TextRequest:
            request = TextRequest(client, [job], count, None, time.monotonic() + 60)
            worker.submit(request)
            return request

        submit("a", 1)
        while not batch.joined:
            await asyncio.sleep(0.005)
        submit("b", 1)
        gone = submit("b", 3)
        with pytest.raises(HttpError, match="4 texts are waiting already"):
            submit("c", 1)
        worker.cancel(gone)
        submit("c", 3)
        batch.released.set()
        while len(batch.joined) < 5:
            await asyncio.sleep(0.005)
        worker.stop()
        return "".join(batch.joined)

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE)) == "abccc"


def test_text_worker_prompts_without_a_cache_may_wait_for_any_engine() -> None:
    """A NumPy engine steps one text at a time: that says nothing of the memory of those that wait."""

    async def scenario() -> None:
        worker = TextWorker(cast("Any", FakeBatch()), max_waiting=100)
        for client in ("a", "b"):
            worker.submit(TextRequest(client, [job_of(batch_size=1)] * 8, 1, None, time.monotonic() + 60))
        worker.stop()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_text_worker_texts_of_a_large_cache_have_less_room() -> None:
    small, large = job_of(batch_size=8, context_cache=9), job_of(batch_size=2, context_cache=99)

    async def scenario() -> list[float]:
        batch = FakeBatch()
        worker = TextWorker(cast("Any", batch), max_waiting=100)
        for client, job, count in (("a", small, 4), ("b", large, 3), ("c", small, 4)):
            worker.submit(TextRequest(client, [job], count, None, time.monotonic() + 60))
        with pytest.raises(HttpError, match="are waiting already"):  # of each, the prompt has its own cache
            worker.submit(TextRequest("d", [large] * 8, 1, None, time.monotonic() + 60))
        batch.released.set()
        while len(batch.joined) < 11:
            await asyncio.sleep(0.005)
        worker.stop()
        return batch.filled

    assert max(asyncio.run(asyncio.wait_for(scenario(), PATIENCE))) <= 1


class EndlessBatch(FakeBatch):
    """Gives each text a character a step, the last of `steps` with its sample."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def remove(self, key: Any) -> None:
        self.members.remove(key)

    def advance(self, steps: int) -> list[BatchedText[Any]]:
        self.left -= 1
        sample = None if self.left else cast("Any", SimpleNamespace(sample="sample"))
        found = [BatchedText(key, "x", sample) for key in self.members]
        if not self.left:
            self.members.clear()
        return found


def test_text_worker_gathers_the_text_between_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_DELIVERY_SECONDS", 1e9)
    job = job_of(batch_size=2)

    async def scenario() -> list[TextDelta]:
        worker = TextWorker(cast("Any", EndlessBatch(1000)), max_waiting=100)
        asked = TextRequest("a", [job], 2, None, time.monotonic() + 60)
        worker.submit(asked)
        found: list[TextDelta] = []
        while sum(piece.sample is not None for piece in found) < 2:
            found += await asyncio.wait_for(asked.next_pieces(), 20)
        worker.stop()
        return found

    pieces = asyncio.run(scenario())
    for index in (0, 1):
        assert [piece.text for piece in pieces if piece.index == index] == ["x", "x" * 999]


def test_completions_full_queue_is_429(served: Served, text_model: Path) -> None:
    worker = worker_of(served, text_model)
    before, worker._max_waiting = worker._max_waiting, 0
    try:
        answer = served.ask("/v1/completions", {"model": name(text_model), "prompt": "x"})
    finally:
        worker._max_waiting = before
    assert answer.status == 429 and int(answer.headers["retry-after"]) > 0
    assert "try again later" in answer.message


def test_completions_beyond_the_time_limit_end(text_model: Path) -> None:
    with serving([text_model], timeout=1.0) as served:
        answer = served.ask("/v1/completions", {"prompt": "x", "length": 1_000_000})
        assert answer.status == 503 and "longer than the server allows" in answer.message
        assert eventually(lambda: len(worker_of(served, text_model)._batch) == 0)


def test_completions_stream_beyond_the_time_limit_ends_with_an_error(text_model: Path) -> None:
    with serving([text_model], timeout=1.0) as served:
        answer = served.ask("/v1/completions", {"prompt": "x", "length": 1_000_000, "stream": True})
        assert "longer than the server allows" in answer.body.decode().strip().rpartition("\n\n")[2]
        assert eventually(lambda: len(worker_of(served, text_model)._batch) == 0)


def test_chat_stream_beyond_the_time_limit_ends_with_an_error(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models("dialogue", "dialogue")
    working = type(seqgen.load(folder).engine)
    step = working.step
    monkeypatch.setattr(working, "step", lambda *given: time.sleep(0.05) or step(*given))
    with serving([folder], timeout=1.0) as served:
        asked = {"messages": [{"role": "user", "content": "Hello"}], "candidates": 1, "n": 10, "stream": True}
        *_, error = served.ask("/v1/chat/completions", asked).body.decode().strip().split("\n\n")
        assert "longer than the server allows" in error


def test_completions_stream_error_of_the_client_is_no_failure_of_the_server(
    served: Served, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UserError("--top-k is too small")

    monkeypatch.setattr(RunningBatch, "add", refuse)
    answer = served.ask("/v1/completions", {"model": name(text_model), "prompt": "x", "stream": True})
    assert answer.body.startswith(b"data: ")
    error = json.loads(answer.body.removeprefix(b"data: "))["error"]
    assert (error["code"], error["message"]) == (400, "`top_k` is too small")


def test_serve_loads_a_model_when_it_is_asked_for(text_model: Path, models: Models) -> None:
    other = models("byte")
    with serving([text_model, other]) as served:
        assert served.ask("/v1/models").status == 200
        assert [one._model is None for one in served.state.models.all()] == [True, True]
        served.ask("/v1/completions", {"model": name(other), "prompt": "x", "length": 2})
        assert [one._model is None for one in served.state.models.all()] == [True, False]
