"""Predictions over HTTP, wrong requests, who may ask, and the command."""

from __future__ import annotations

import base64
import dataclasses
import errno
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.requests import Request

import seqgen
from seqgen.api.classifying import make_classifier
from seqgen.config import SampleOptions
from seqgen.corpus.cache.store import ScratchFolder
from seqgen.errors import UserError
from seqgen.server import app, bodies, connections, predicting
from seqgen.server.run import read_keys
from seqgen.server.state import client_of
from seqgen.tokenizers.characters import CharCodec
from tests.helpers.random_models import Models
from tests.helpers.running import Run
from tests.helpers.server import Served, serving
from tests.helpers.server_process import server_process
from tests.helpers.untrained import untrained
from tests.helpers.waiting import eventually

TEXT, TALK, MUSIC, LABELS, SERIES = "text", "dialogue", "music", "classify", "forecast"
SAYS = {"role": "user", "content": "Hello"}


@pytest.fixture(scope="module")
def served(zoo: dict[str, Path], models: Models) -> Iterator[Served]:
    tasks = ("dialogue", "classify", "generative", "forecast", "music")
    with serving([*(zoo[task] for task in tasks), models("char")]) as found:
        yield found


def test_classify_gives_the_labels_of_the_model(served: Served, zoo: dict[str, Path]) -> None:
    texts = ["a good day", "", "bad 天气"]
    found = served.ask("/v1/classify", {"model": zoo["classify"].name, "input": texts, "top_k": 2}).json["data"]
    wanted = seqgen.load(zoo["classify"]).classify(texts, top_k=2)
    assert [[(one["label"], one["probability"]) for one in entry["labels"]] for entry in found] == [
        list(one.labels) for one in wanted
    ]


def test_completions_of_a_generative_classifier_have_a_label(served: Served, zoo: dict[str, Path]) -> None:
    folder = zoo["generative"]
    label, *_ = seqgen.load(folder).checkpoint.classifier_config.labels
    asked = {"model": folder.name, "prompt": "a", "label": label, "length": 9, "seed": 4}
    (choice,) = served.ask("/v1/completions", asked).json["choices"]
    (wanted,) = seqgen.load(folder).sample("a", label=label, length=9, seed=4)
    assert choice["text"] == wanted.text
    missing = served.ask("/v1/completions", {**asked, "label": None})
    assert (missing.status, missing.message.partition(" must be")[0]) == (400, "`label`")


def test_score_gives_the_nats_of_the_model(served: Served, models: Models) -> None:
    asked = {"model": models("char").name, "input": ["The lamp", "x"], "per_token": True}
    found = served.ask("/v1/score", asked).json["data"]
    wanted = seqgen.load(models("char")).score("The lamp", per_token=True)
    assert found[0]["nats"] == pytest.approx(wanted.nats)
    assert [(one["token"], one["nats"]) for one in found[0]["per_token"]] == wanted.per_token
    assert found[1]["tokens"] == 1


def test_model_that_is_replaced_is_read_again_at_its_first_use_and_later_refused(tmp_path: Path) -> None:
    folder, other = (
        untrained(tmp_path / name, CharCodec.fit([text])) for name, text in (("m", b"The lamp"), ("n", b"abc"))
    )
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rounding_bits_per_token": 0.0}))  # two engines

    def replace() -> None:
        for path in other.iterdir():
            (folder / "new").write_bytes(path.read_bytes())
            (folder / "new").replace(folder / path.name)

    with serving([folder]) as server:
        replace()
        assert server.ask("/v1/completions", {"prompt": "a", "max_tokens": 9}).status == 200
        replace()
        refused = server.ask("/v1/score", {"input": "a"})
        said = "'m' was trained further or replaced since it was loaded; load it again"
        assert (refused.status, refused.message, refused.json["error"]["type"]) == (503, said, "server_error")
        assert server.ask("/v1/completions", {"prompt": "a", "max_tokens": 9}).status == 200
    for name, data in (("model.safetensors", b"damaged"), ("tokenizer.json", b"{")):
        with serving([folder]) as server:
            (folder / name).write_bytes(data)
            refused = server.ask("/v1/completions", {"prompt": "a"})
            assert refused.status == 503
            assert str(tmp_path) not in refused.message
        (folder / name).write_bytes((other / name).read_bytes())


def test_forecast_gives_the_rows_of_the_model(served: Served, zoo: dict[str, Path]) -> None:
    table = next(path for path in zoo["forecast"].parent.iterdir() if path.suffix == ".csv")
    asked = {"model": zoo["forecast"].name, "csv": table.read_text()}
    (found,) = served.ask("/v1/forecast", asked).json["data"]
    (wanted,) = seqgen.load(zoo["forecast"]).forecast(str(table))
    assert found == json.loads(json.dumps(wanted.to_dict()))


def test_forecast_tells_the_warnings_about_the_table(served: Served, zoo: dict[str, Path]) -> None:
    lines = (zoo["forecast"].parent / "table.csv").read_text().splitlines()
    asked = {"model": zoo["forecast"].name, "csv": "\n".join(lines)}
    assert served.ask("/v1/forecast", asked).json["warnings"] == []
    (warning,) = served.ask("/v1/forecast", {**asked, "csv": "\n".join(lines[:4])}).json["warnings"]
    assert "fewer than the model's look-back" in warning


def test_forecasts_of_too_many_numbers_are_refused(
    served: Served, zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (zoo["forecast"].parent / "table.csv").read_text()
    asked = {"model": zoo["forecast"].name, "csv": table}
    said = "the forecasts would have more than"
    answer = served.ask("/v1/forecast", {**asked, "horizon": 1 << 20})
    assert (answer.status, said in answer.message) == (400, True)
    monkeypatch.setattr(predicting, "_MAX_NUMBERS", 10 * seqgen.load(zoo["forecast"]).forecaster.config.targets)
    assert served.ask("/v1/forecast", {**asked, "horizon": 10}).status == 200
    assert len(served.ask("/v1/forecast", {**asked, "horizon": 5, "backtest": 2}).json["data"]) == 2
    for beyond in ({"horizon": 11}, {"horizon": 5, "backtest": 3}):
        answer = served.ask("/v1/forecast", {**asked, **beyond})
        assert (answer.status, said in answer.message) == (400, True)


def slowed(cls: type, name: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make a method take 50 ms more; returns when it was called."""
    method, calls = getattr(cls, name), list[float]()

    def slow(*given: Any, **named: Any) -> Any:
        calls.append(time.monotonic())
        time.sleep(0.05)
        return method(*given, **named)

    monkeypatch.setattr(cls, name, slow)
    return calls


# Requests that take minutes with a slow model: for thousands of windows, texts and chunks.
SLOW: dict[str, tuple[dict[str, Any], Callable[[Any], type], str]] = {
    "/v1/forecast": ({"horizon": 50_000}, lambda model: type(model.forecaster), "predict"),
    "/v1/classify": ({"input": ["A day. Rain."] * 1024, "explain": True}, lambda model: type(make_classifier(model)),
                     "__call__"),
    "/v1/score": ({"input": ["The lamp"] * 1024}, lambda model: type(model.exact_engine), "nats_of"),
    "/v1/compose": ({"length": 1000, "format": "json"}, lambda model: type(model.engine), "step"),
}  # fmt: skip


def slowed_request(
    path: str, zoo: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], Path, list[float]]:
    """A request of `SLOW`, the folder of its model, and when the method was called that takes long now."""
    body, working, method = SLOW[path]
    folder = models("char") if path == "/v1/score" else zoo[{"compose": MUSIC}.get(task := path[4:], task)]
    if path == "/v1/forecast":
        body = {**body, "csv": (folder.parent / "table.csv").read_text()}
    return body, folder, slowed(working(seqgen.load(folder)), method, monkeypatch)


@pytest.mark.parametrize("path", SLOW)
def test_request_beyond_the_time_limit_leaves_its_thread(
    path: str, zoo: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, folder, calls = slowed_request(path, zoo, models, monkeypatch)
    with serving([folder], timeout=2.0) as served:
        answer = served.ask(path, body)
        assert answer.status == 503 and "longer than the server allows" in answer.message
        assert calls
        assert eventually(lambda: time.monotonic() - calls[-1] > 1, seconds=20)


@pytest.mark.parametrize("path", SLOW)
def test_request_whose_client_goes_away_leaves_its_thread(
    path: str, served: Served, zoo: dict[str, Path], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, folder, calls = slowed_request(path, zoo, models, monkeypatch)
    with served.send(path, {"model": folder.name, **body}):
        assert eventually(lambda: calls)
    assert eventually(lambda: time.monotonic() - calls[-1] > 1, seconds=20)


def test_forecast_on_a_full_disk_is_503_in_one_line(
    served: Served, zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ScratchFolder, "make", full)
    answer = served.ask("/v1/forecast", {"model": zoo["forecast"].name, "csv": "time,a\n2020-01-01,1\n"})
    said = "cannot store the data from `csv`: No space left on device"
    assert (answer.status, answer.message) == (503, said)


def test_compose_gives_midi_wave_and_json(served: Served, zoo: dict[str, Path]) -> None:
    asked: dict[str, Any] = {"model": zoo["music"].name, "length": 2, "seed": 7}
    midi = served.ask("/v1/compose", asked)
    assert (midi.headers["content-type"], midi.body[:4]) == ("audio/midi", b"MThd")
    wave = served.ask("/v1/compose", {**asked, "format": "wav"})
    assert (wave.headers["content-type"], wave.body[:4]) == ("audio/wav", b"RIFF")
    several = served.ask("/v1/compose", {**asked, "format": "json", "n": 2}).json["data"]
    assert base64.b64decode(several[0]["midi"]) == midi.body
    found = served.ask("/v1/compose", {**asked, "seed": None})
    assert served.ask("/v1/compose", {**asked, "seed": int(found.headers["x-seed"])}).body == found.body
    assert (midi.headers["x-seed"], wave.headers["x-seed"]) == ("7", "7")
    assert [one["bars"] for one in several] == [2, 2]


def test_openapi_describes_every_route_and_option(served: Served) -> None:
    found = served.ask("/openapi.json").json
    routes = {route.path for route in app.make_app(served.state)._app.routes}  # type: ignore[attr-defined]
    assert set(found["paths"]) == {route.replace(":path", "") for route in routes - {"/", "/openapi.json"}}
    schema = found["paths"]["/v1/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"temperature", "top_p", "dry_multiplier", "stop", "seed", "grammar"} <= set(schema["properties"])
    assert schema["properties"]["top_p"]["maximum"] == 1
    assert schema["properties"]["dry_window"]["maximum"] == 16_384
    assert {"stream_options", *bodies.IGNORED} <= set(schema["properties"])
    assert "sheet" not in str(found["paths"]["/v1/classify"]), "an option of files"


@pytest.mark.parametrize(
    ("path", "task", "without"),
    [
        ("/v1/completions", TEXT, {"temperature_of": "note=2"}),
        ("/v1/chat/completions", TALK, {"temperature_of": "note=2", "context_cache": 9, "length": 9}),
        ("/v1/compose", MUSIC, {"ban": "a", "grammar": "a", "context_cache": 9, "stop": "a", "dry_breaker": "a"}),
    ],
)
def test_openapi_has_the_fields_and_limits_of_a_path(
    path: str, task: str, without: dict[str, Any], served: Served, zoo: dict[str, Path], models: Models
) -> None:
    paths = served.ask("/openapi.json").json["paths"]
    schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found, asked = schema["properties"], {"model": (models("char") if task == TEXT else zoo[task]).name}
    if task == TALK:
        asked["messages"] = [SAYS]  # type: ignore[assignment]
    assert schema["required"] == (["messages"] if task == TALK else [])
    assert {item.name for item in dataclasses.fields(SampleOptions)} - {*found} == {*without}
    assert "object" in [kind["type"] for kind in found["logit_bias"]["oneOf"]]
    assert served.ask(path, {**asked, "n": 1, "seed": 1, "logit_bias": {"5": 3}}).status == 200
    beyond = {name: found[name]["maximum"] + 1 for name in ("n", "length") if name in found}
    beyond |= {"max_tokens": found["max_tokens"]["minimum"] - 1} if path != "/v1/compose" else {}
    for name, value in {**without, **beyond}.items():
        assert served.ask(path, {**asked, name: value}).status == 400, name
    assert "default" not in found["seed"], "each request has another"


DEEP = "[" * 100_000
WRONG: list[tuple[str, Any, Any, int, str]] = [
    ("/v1/completions", TEXT, {"prompt": 3}, 400, "`prompt` must be a text or a list"),
    ("/v1/completions", TEXT, {"prompt": [1, 2]}, 400, "`prompt` must be a text"),
    ("/v1/completions", TEXT, {"prompt": []}, 400, "`prompt` must be a text"),
    ("/v1/completions", TEXT, {"prompt": ["x"] * 2000}, 400, "2,000 texts"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": -1}, 400, "`temperature` must be at least 0"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": "hot"}, 400, "`temperature` must be a number"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": True}, 400, "`temperature` must be a number"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": 10**400}, 400, "too large"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": float("nan")}, 400, "temperature"),
    ("/v1/completions", TEXT, {"prompt": "x", "temperature": float("inf")}, 400, "temperature"),
    ("/v1/completions", TEXT, {"prompt": "x", "top_k": -1}, 400, "`top_k`"),
    (
        "/v1/completions",
        TEXT,
        {"prompt": "x", "frequency_penalty": "high"},
        400,
        "`frequency_penalty` must be a number",
    ),
    ("/v1/completions", TEXT, {"prompt": "x", "top_p": 0}, 400, "`top_p`"),
    ("/v1/completions", TEXT, {"prompt": "x", "topp": 1}, 400, "did you mean 'top_p'"),
    ("/v1/classify", LABELS, {"input": "x", "format": "csv"}, 400, "there is no field 'format'"),
    ("/v1/forecast", SERIES, {"csv": "x", "encoding": "utf-8"}, 400, "there is no field 'encoding'"),
    ("/v1/completions", TEXT, {"prompt": "x", "n": 0}, 400, "`n` must be between 1 and 128"),
    ("/v1/completions", TEXT, {"prompt": "x", "n": 1e9}, 400, "`n` must be an integer"),
    ("/v1/completions", TEXT, {"prompt": ["x"] * 60, "n": 60}, 400, "3,600 texts were asked for"),
    ("/v1/completions", TEXT, {"prompt": "x", "max_tokens": -5}, 400, "`max_tokens` must be between"),
    ("/v1/completions", TEXT, {"prompt": "x", "length": 10**12}, 400, "`length` must be at most"),
    ("/v1/completions", TEXT, {"prompt": "x", "seed": 1 << 70}, 400, "`seed` must be between"),
    ("/v1/completions", TEXT, {"prompt": "x", "stream": "yes"}, 400, "`stream` must be true or false"),
    ("/v1/completions", TEXT, {"prompt": "x", "logprobs": 99}, 400, "`logprobs` must be between"),
    ("/v1/completions", TEXT, {"prompt": "x", "stop": [1]}, 400, "`stop` must be a text, or a list"),
    ("/v1/completions", TEXT, {"prompt": "x", "stop": ""}, 400, "`stop` must not be empty"),
    ("/v1/completions", TEXT, {"prompt": "x", "grammar": "("}, 400, "`grammar`"),
    ("/v1/completions", TEXT, {"prompt": "x", "grammar": "x{600}", "length": 30}, 400, "at least 600 characters"),
    ("/v1/completions", TEXT, {"prompt": "x", "grammar": "[a-z]{20}", "max_tokens": 5}, 400, "the limit is 5"),
    ("/v1/completions", TEXT, {"prompt": "x", "logit_bias": {"5": "a"}}, 400, "`logit_bias`"),
    ("/v1/completions", TEXT, {"prompt": "x", "logit_bias": {"999999": 1}}, 400, "999999"),
    ("/v1/completions", TEXT, {"prompt": "x", "logit_bias": {"5": 10**400}}, 400, "-100 to 100"),
    ("/v1/completions", TEXT, {"prompt": "x", "dry_window": 16_385}, 400, "`dry_window` must be at most 16,384"),
    ("/v1/completions", TEXT, {"prompt": "x", "best_of": 4}, 400, "`best_of` and `suffix` are not supported"),
    ("/v1/completions", TEXT, {"prompt": "x", "label": "good"}, 400, "`label` is for models trained with"),
    ("/v1/completions", MUSIC, {"prompt": "x"}, 400, "`prompt` is for text; this is a model for music"),
    ("/v1/completions", TALK, {"prompt": "x", "logprobs": 1}, 400, "it can't give `logprobs`"),
    ("/v1/completions", "none", {"prompt": "x"}, 404, "there is no model 'none'"),
    ("/v1/completions", "../etc", {"prompt": "x"}, 404, "there is no model"),
    ("/v1/completions", {"a": 1}, {"prompt": "x"}, 400, "`model` must be a text"),
    ("/v1/completions", None, {"prompt": "x"}, 400, "name a model; there are"),
    ("/v1/chat/completions", TEXT, {"messages": []}, 400, "use /v1/completions"),
    ("/v1/chat/completions", TALK, {}, 400, "must end with a message of the user"),
    ("/v1/chat/completions", TALK, {"messages": "Hello"}, 400, "`messages` must be a list"),
    ("/v1/chat/completions", TALK, {"messages": ["Hello"]}, 400, "`messages[0]` must be an object with a role"),
    ("/v1/chat/completions", TALK, {"messages": [{"role": "tool", "content": "x"}]}, 400, "the role must be user"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS, {"role": "assistant", "content": "x"}]}, 400, "must end with"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "n": -1}, 400, "`n` must be between 1 and 128"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "candidates": 0}, 400, "`candidates`"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "tools": [{}]}, 400, "`tools` are not supported"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "length": 5}, 400, "there is no field 'length'"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "max_tokens": 0}, 400, "`max_tokens` must be between"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "top_logprobs": 2}, 400, "needs `logprobs`"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "repetition_window": 1 << 20}, 400, "at most 16,384"),
    ("/v1/chat/completions", TALK, {"messages": [SAYS], "stop": [""]}, 400, "`stop` must not be empty"),
    ("/v1/classify", TEXT, {"input": "x"}, 400, "a model for text"),
    ("/v1/classify", LABELS, {}, 400, "`input` must be a text"),
    ("/v1/classify", LABELS, {"input": "x", "top_k": 0}, 400, "`top_k`"),
    ("/v1/score", TEXT, {"input": "x", "nats": 1}, 400, "there is no field 'nats'"),
    ("/v1/score", LABELS, {"input": "x"}, 400, "scores are of texts"),
    ("/v1/forecast", SERIES, {}, 400, "`csv` must be the text of a table"),
    ("/v1/forecast", SERIES, {"csv": "a,b\n1,2\n"}, 400, "column"),
    ("/v1/forecast", SERIES, {"csv": "\0\0"}, 400, ""),
    ("/v1/forecast", SERIES, {"csv": "\x1f\x8b\x08 xx"}, 400, "`csv` is binary data, not text; give text"),
    ("/v1/completions/", TEXT, {"prompt": "x"}, 404, "there is no such path"),
    ("/v1/forecast", TEXT, {"csv": "a\n1\n"}, 400, "a model for text"),
    ("/v1/compose", TEXT, {}, 400, "it composes nothing"),
    ("/v1/compose", MUSIC, {"format": "mp3"}, 400, "`format` must be one of midi, wav, json"),
    ("/v1/compose", MUSIC, {"n": 3}, 400, "several pieces come as `format` json"),
    ("/v1/compose", MUSIC, {"key": "H flat"}, 400, "H flat"),
    ("/v1/compose", MUSIC, {"length": 10**6}, 400, "at most 1000 bars"),
]


@pytest.mark.parametrize(("path", "task", "body", "status", "message"), WRONG)
def test_wrong_request_is_a_status_and_one_sentence(
    path: str, task: Any, body: Any, status: int, message: str, served: Served, zoo: dict[str, Path], models: Models
) -> None:
    folder = models("char") if task == TEXT else zoo.get(task) if isinstance(task, str) else None
    asked = {"model": folder.name if folder else task, **body}
    answer = served.ask(path, asked)
    assert answer.status == status
    assert message in answer.message and "\n" not in answer.message
    assert path != "/v1/forecast" or "--" not in answer.message, "a flag of the command line"
    for place in (os.sep + "tmp", str(models("char")), str(zoo["classify"])):
        assert place not in answer.message
    if path.endswith("completions") and "stream" not in body:
        streamed = served.ask(path, {**asked, "stream": True})
        assert (streamed.status, streamed.body) == (status, answer.body)


def test_errors_of_a_model_in_the_current_folder_keep_their_full_stops(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models("char"))
    with serving([Path(".")]) as served:
        answer = served.ask("/v1/completions", {"prompt": "x", "logit_bias": ["xyz=-2.5"]})
    assert (answer.status, "'xyz=-2.5'" in answer.message) == (400, True)
    error = served.state.error_of(UserError("'.' is damaged, see e.g. " + repr(str(models("char") / "config.json"))))
    assert error.message == f"'{models('char').name}' is damaged, see e.g. '{models('char').name}/config.json'"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"), (b"null", "must be a JSON object"), (DEEP.encode(), "nested too deeply"),
    ],
)  # fmt: skip
def test_body_that_is_no_object_is_one_sentence(data: bytes, message: str, served: Served) -> None:
    answer = served.ask("/v1/completions", data=data)
    assert (answer.status, message in answer.message) == (400, True)


def test_body_of_another_type_or_too_large_is_refused(served: Served) -> None:
    assert served.ask("/v1/completions", data=b"{}", content_type="text/plain").status == 415
    large = b'{"prompt": "' + b"x" * bodies.MAX_BYTES + b'"}'
    assert served.ask("/v1/completions", data=large).status == 413
    with socket.create_connection(("127.0.0.1", served.port)) as connection:  # as chunks, without a length
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(bodies.MAX_BYTES // 0x100000 + 2):
                connection.sendall(chunk)
        except OSError:
            pass  # the server has closed the connection
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
RAW: list[tuple[bytes, int, str]] = [  # what a client sends before it waits
    (b"hello\r\n\r\n", 400, "not a request in HTTP/1.1"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(99), 400, "not a request in HTTP/1.1"),  # TLS
    (b"GET /health HTTP/1.1\r\nX: " + b"x" * 70_000, 400, "its headers are too long"),
    (b"GET /health HTTP/1.1\r\nHost", 408, "the head of the request took longer"),
    (POST + b"Content-Length: -5\r\n\r\n", 400, "not a request in HTTP/1.1"),
    (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "not a request in HTTP/1.1"),
    (POST + b"Content-Length: 100\r\n\r\n{", 408, "the body took longer"),
    (POST + b"Content-Length: 104857600\r\n\r\n{", 413, "the body has 104,857,600 bytes"),
    (POST + b"Content-Length: 1" + b"0" * 19 + b"\r\n\r\n{", 413, "bytes; 8,388,608 are allowed"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400, "not a request in HTTP/1.1"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408, "the body took longer"),
]


@pytest.mark.parametrize(("sent", "status", "message"), RAW)
def test_broken_or_half_request_is_a_status_and_one_sentence(
    sent: bytes, status: int, message: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_BODY_SECONDS", 0.3)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == status
        assert answer.getheader("x-content-type-options") == "nosniff"
        said = json.loads(answer.read())["error"]["message"]
    assert message in said and "\n" not in said


def test_connection_without_a_request_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        assert connection.recv(100) == b""


def test_connection_whose_client_reads_nothing_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    address = "127.0.0.1", served.port
    with socket.create_connection(address, timeout=20) as connection, pytest.raises(ConnectionError):
        for _ in range(100):  # until the answers fill all buffers, and the server reads no more
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            time.sleep(0.1)


def test_too_many_connections_are_refused_until_some_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]  # accepted in this order
    refused = served.ask("/v1/models")
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "too many connections" in refused.message
    for connection in idle:
        connection.close()
    assert eventually(lambda: served.ask("/v1/models").status == 200)


@pytest.mark.parametrize(("path", "method", "status"), [("/none", "GET", 404), ("/v1/completions", "GET", 405),
                                                         ("/v1/models/none", "GET", 404)])  # fmt: skip
def test_unknown_route_is_one_sentence(path: str, method: str, status: int, served: Served) -> None:
    answer = served.ask(path, method=method)
    assert (answer.status, "\n" in answer.message) == (status, False)


def test_answers_have_safe_headers_and_no_cors(served: Served) -> None:
    answer = served.ask("/v1/models")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    assert str(Path.home()) not in answer.body.decode()


def test_models_are_listed_with_metrics_that_json_can_hold(zoo: dict[str, Path], tmp_path: Path) -> None:
    """A lone surrogate in a metric of a model by others was an internal error."""
    model = Path(shutil.copytree(zoo["text"], tmp_path / "m"))
    config = json.loads((model / "config.json").read_text())
    own = config["metrics"]
    config["metrics"] = {**own, "x": "\ud800", "\ud800": 1.0, "a\nb": 1.0, "huge": 10**400, "none": None}
    (model / "config.json").write_text(json.dumps(config))
    with serving([model]) as served:
        listed = served.ask("/v1/models")
        assert (listed.status, listed.json["data"][0]["metrics"]) == (200, own)
        assert served.ask("/v1/models/m").json["metrics"] == own


OTHERS = [
    *({"host": host} for host in ("evil.example", "localhost.evil.example", "[::1", "]", "localhost@evil.example")),
    *({"origin": origin} for origin in ("http://evil.example", "null", "http://[", "http://localhost")),
]


@pytest.mark.parametrize("headers", OTHERS)
def test_requests_of_other_sites_are_refused(headers: dict[str, str], served: Served) -> None:
    assert served.ask("/v1/models", **headers).status == 403


def test_api_keys_are_asked_for(models: Models) -> None:
    with serving([models("char")], keys=frozenset({"sesame", "öffne"})) as served:
        wrong = ("Bearer wrong", "sesame", "Basic sesame", "Bearer", "Bearer ", "Bearer ses", "Bearer sesames")
        for headers in ({}, *({"authorization": one} for one in wrong)):
            answer = served.ask("/v1/models", **headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        for key in ("sesame", "öffne", "öffne".encode().decode("latin-1")):  # sent as Latin-1, and as UTF-8
            authorization = f"Bearer {key}"
            assert served.ask("/v1/models", authorization=authorization, host="any.example").status == 200
        assert served.ask("/health").status == 200


def test_clients_take_turns_by_their_key_however_they_spell_it() -> None:
    def client(authorization: str) -> str:
        headers = [(b"authorization", authorization.encode())]
        return client_of(Request({"type": "http", "headers": headers, "app": application}))

    application = SimpleNamespace(state=SimpleNamespace(server=SimpleNamespace(keys={"K"})))
    assert {client(one) for one in ("Bearer K", "bearer K", "Bearer  K ")} == {"K"}


def test_api_keys_of_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("sesame\n# a comment\n\n密码 \n", "utf-8-sig")
    assert read_keys(str(tmp_path / "keys.txt")) == {"sesame", "密码"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "lets others in: give --api-key-file"),
        (["--api-key-file", "none.txt"], "cannot read the keys in 'none.txt'"),
        (["--timeout", "soon"], "soon"),
        (["MODEL"], "two models would be called"),
    ],
)
def test_serve_command_bad_arguments_are_one_line(arguments: list[str], message: str, models: Models, run: Run) -> None:
    given = [str(models("char")) if word == "MODEL" else word for word in arguments]
    assert message in run("serve", models("char"), *given, status=2).err
    assert "there is no model" in run("serve", "none", status=2).err


def test_serve_command_port_in_use_is_one_line(models: Models, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = run("serve", models("char"), "--port", taken.getsockname()[1], status=2).err
    assert "cannot listen on" in error and error.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM can't be caught there")
@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_serve_command_finishes_what_has_begun(number: str, status: int, models: Models) -> None:
    body = json.dumps({"prompt": "x", "length": 20_000, "stream": True}).encode()
    with server_process([models("char")]) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\n" + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            )  # fmt: skip
            received = connection.recv(1000)
            server.process.send_signal(getattr(signal, number))
            assert eventually(lambda: not is_listening(server.port))
            while part := connection.recv(1 << 16):
                received += part
        assert b"data: [DONE]" in received
        assert server.process.wait(timeout=60) == status
    assert not server.tracebacks
    assert "\"POST '/v1/completions'\" 200" in "".join(server.log)  # a line a request, without its text


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:  # refused; or reset, where it closed in between
        return False
    return True


def test_page_has_the_limits_of_requests() -> None:
    page = " ".join((Path(seqgen.__file__).parent / "docs" / "serve.md").read_text(encoding="utf-8").split())
    assert f"generate {bodies.MAX_CHOICES} texts" in page and f"score {bodies.MAX_INPUTS:,} texts" in page
    assert f"{bodies.MAX_PIECES} pieces of up to {bodies.MAX_BARS:,} bars" in page
    assert f"(as wav {predicting._MAX_SECONDS // 60} minutes)" in page
    assert f"forecasts may have {predicting._MAX_NUMBERS:,} numbers" in page
