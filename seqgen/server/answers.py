"""Answers in JSON. Large ones are rendered in a thread, piece by piece, so that other requests go on meanwhile."""

from __future__ import annotations

import io
import json

from starlette.responses import Response

MAX_LISTED = 1 << 18  # numbers of an answer that go with its tokens, labels or sentences: a hundred bytes each
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_answer(content: object) -> Response:
    """The answer with this content, for threads."""
    return Response(json_bytes(content), media_type="application/json")


def json_bytes(content: object) -> bytes:
    """Content as JSON. It takes longer than `json.dumps`, which lets no other thread run until it is done."""
    text = io.StringIO()
    for part in _ENCODER.iterencode(content):
        text.write(part)
    return text.getvalue().encode()
