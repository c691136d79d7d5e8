"""Answers to requests that can't be done: a status and one sentence."""

from __future__ import annotations

import dataclasses
import re

from seqgen.config import (
    ChatOptions,
    ClassifyOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
    flag_name,
)
from seqgen.untrusted import one_line

RETRY_SECONDS = 5  # after which a client of a busy server may try again
_MAX_MESSAGE = 600  # characters
_OPTIONS = (ChatOptions, ClassifyOptions, ForecastOptions, MusicOptions, ReplyOptions, SampleOptions)
_FIELDS = {"--label": "label", "--prompt": "prompt"} | {
    flag_name(item.name): item.name for cls in _OPTIONS for item in dataclasses.fields(cls)
}


class HttpError(Exception):
    """A request that is answered with `status` and one sentence.

    Args:
        message: an option that it names as the command line does is named as a field in the answer.
        retry_after: seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        message = message[: 8 * _MAX_MESSAGE]  # it may quote megabytes of a body
        message = re.sub(r"(?<![\w-])--[a-z][a-z-]*", _field_of, message)
        super().__init__(message)
        self.status, self.message, self.retry_after = status, one_line(message)[:_MAX_MESSAGE], retry_after

    def body(self) -> dict[str, object]:
        """The JSON object of the answer, as OpenAI's API has it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.status}}


def _field_of(flag: re.Match[str]) -> str:
    """The field of an option: `--top-k` → "`top_k`"; any other flag as it is."""
    return f"`{_FIELDS[flag[0]]}`" if flag[0] in _FIELDS else flag[0]
