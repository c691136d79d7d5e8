"""Answers to requests that can't be done: a status and one sentence."""

from __future__ import annotations

from seqgen.untrusted import one_line

RETRY_SECONDS = 5  # after which a client of a busy server may try again
_MAX_MESSAGE = 600  # characters


class HttpError(Exception):
    """A request that is answered with `status` and one sentence.

    Args:
        retry_after: seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, one_line(message)[:_MAX_MESSAGE], retry_after

    def body(self) -> dict[str, object]:
        """The JSON object of the answer, as OpenAI's API has it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.status}}
