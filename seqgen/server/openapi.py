"""The description of the API at `/openapi.json`, made from the option tables."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from seqgen.config import ChatOptions, ClassifyOptions, ForecastOptions, ReplyOptions, SampleOptions, field_types
from seqgen.server import bodies
from seqgen.specs.tasks import TASKS
from seqgen.version import __version__

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_MODEL = {"type": "string", "description": "Name of a model; may be missing where there is only one."}
_N = {"type": "integer", "minimum": 1, "maximum": bodies.MAX_CHOICES, "default": 1}
_PIECES = {**_N, "maximum": bodies.MAX_PIECES}
_MAX_TOKENS = {"type": "integer", "minimum": 0, "maximum": bodies.MAX_TOKENS}
_MAX_REPLY_TOKENS = {**_MAX_TOKENS, "minimum": 1}
_OBJECTS = {  # that requests may have in the place of an option's texts
    "logit_bias": {"oneOf": [*_TEXTS["oneOf"], {"type": "object", "additionalProperties": {"type": "number"}}]}
}
_STREAM_OPTIONS = {"type": "object", "properties": {"include_usage": {"type": "boolean", "default": False}}}
_IGNORED = {name: {"description": "Changes nothing."} for name in sorted(bodies.IGNORED)}
_LOGPROBS = {"type": "integer", "minimum": 0, "maximum": bodies.MAX_LOGPROBS}
_STREAM = {"type": "boolean", "default": False, "description": "Server-sent events as the text comes."}


def describe_api() -> dict[str, Any]:
    """The OpenAPI document."""
    chat = {**_of_task(ChatOptions, "dialogue"), **_properties(ReplyOptions)}
    messages = {"type": "array", "items": {"type": "object", "required": ["role", "content"], "properties": {
        "role": {"enum": ["user", "assistant", "system", "developer"]}, "content": {"type": "string"}}}}  # fmt: skip
    bodies_by_path = {
        "/v1/completions": ("Continue prompts.", [], {
            "prompt": _TEXTS, "max_tokens": _MAX_TOKENS,
            "label": {"type": "string", "description": "Label of the texts of a generative classifier."},
            "n": _N, "stream": _STREAM, "stream_options": _STREAM_OPTIONS,
            "echo": {"type": "boolean", "default": False},
            "logprobs": _LOGPROBS, **_of_task(SampleOptions, "text", bodies.MAX_TOKENS)}),
        "/v1/chat/completions": ("Reply to a conversation.", ["messages"], {
            "messages": messages, "n": _N, "stream": _STREAM, "stream_options": _STREAM_OPTIONS,
            "max_tokens": _MAX_REPLY_TOKENS, "max_completion_tokens": _MAX_REPLY_TOKENS,
            "logprobs": {"type": "boolean", "default": False}, "top_logprobs": _LOGPROBS,
            **chat}),
        "/v1/classify": ("Label texts.", ["input"], {"input": _TEXTS, **_properties(ClassifyOptions)}),
        "/v1/score": ("Measure how probable texts are.", ["input"], {
            "input": _TEXTS, "per_token": {"type": "boolean", "default": False}}),
        "/v1/forecast": ("Forecast from the last row of a table.", ["csv"], {
            "csv": {"type": "string"}, **_properties(ForecastOptions)}),
        "/v1/compose": ("Compose music.", [], {
            "format": {"enum": ["midi", "wav", "json"], "default": "midi"}, "n": _PIECES,
            "key": {"type": "string"}, "tempo": {"type": "number"},
            **_of_task(SampleOptions, "music", bodies.MAX_BARS)}),
    }  # fmt: skip
    paths: dict[str, Any] = {
        "/v1/models": {"get": {"summary": "List the models.", "responses": _responses()}},
        "/v1/models/{name}": {
            "get": {
                "summary": "Describe a model.",
                "responses": _responses(),
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            }
        },
        "/health": {"get": {"summary": "Whether the server takes requests.", "responses": _responses()}},
    }
    for path, (summary, required, properties) in bodies_by_path.items():
        schema = {"type": "object", "required": required, "properties": {"model": _MODEL, **_IGNORED, **properties}}
        paths[path] = {
            "post": {
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": _responses(),
            }
        }
    return {"openapi": "3.1.0", "info": {"title": "seqgen", "version": __version__}, "paths": paths}


def _responses() -> dict[str, Any]:
    return {"200": {"description": "Done."}, "4XX": {"description": "One sentence in error.message."},
            "503": {"description": "Try again later."}}  # fmt: skip


def _of_task(cls: type, task: str, longest: int | None = None) -> dict[str, Any]:
    """The options of sampling that a task has. `longest`: of its `length`, where that is a field."""
    spec, found = TASKS.find(task), _properties(cls)
    for item in bodies.option_fields(cls):
        if item.metadata.get("group") not in (None, *spec.option_groups) or (item.name == "stop" and spec.composes):
            del found[item.name]
    if longest is not None:
        found["length"]["maximum"] = longest
    del found["seed"]["default"]  # a new one for each request
    return found


def _properties(cls: type) -> dict[str, Any]:
    """The fields of an options dataclass as properties of a JSON schema."""
    hints = field_types(cls)
    found: dict[str, Any] = {}
    for item in bodies.option_fields(cls):
        kinds = [kind for kind in (typing.get_args(hints[item.name]) or (hints[item.name],)) if kind in _TYPES]
        texts = _OBJECTS.get(item.name, _TEXTS)
        schema: dict[str, Any] = dict(texts) if typing.get_origin(hints[item.name]) is tuple else {}
        if not schema and kinds:
            schema["type"] = _TYPES[kinds[0]]
        for name, key in (("minimum", "minimum"), ("maximum", "maximum"), ("exclusive_minimum", "exclusiveMinimum")):
            if item.metadata.get(name) is not None:
                schema[key] = item.metadata[name]
        if item.name in bodies.WINDOWS:
            schema["maximum"] = bodies.MAX_WINDOW
        if item.default is not None and item.default != () and item.default is not dataclasses.MISSING:
            schema["default"] = item.default
        found[item.name] = {**schema, "description": item.metadata.get("help", "")}
    return found
