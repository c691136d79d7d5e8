"""`/v1/completions` and `/v1/chat/completions`, as OpenAI's API has them, streamed and whole."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import dataclasses
import functools
import json
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from seqgen.api import sampling
from seqgen.api.alternatives import TokenChoice, alternatives, token_choices
from seqgen.config import ChatOptions, ReplyOptions, SampleOptions
from seqgen.generation.dialogue import ChatSession, Reply
from seqgen.generation.engines.limited import limited
from seqgen.generation.job import GenerationJob
from seqgen.generation.sampling.token_names import count_characters, visible_token_bytes
from seqgen.generation.text import Sample, StopMatcher
from seqgen.server import bodies
from seqgen.server.answers import MAX_LISTED, json_answer, json_bytes
from seqgen.server.bodies import Fields
from seqgen.server.errors import HttpError
from seqgen.server.models import ServedModel
from seqgen.server.state import LARGE, ServerState, client_of, state_of, while_awaited, while_connected, work_for
from seqgen.server.texts import TextRequest
from seqgen.time_limit import TimeLimit
from seqgen.tokenizers import decode
from seqgen.untrusted import as_bytes

_BYTE_BY_NAME = {f"\\x{byte:02x}": bytes([byte]) for byte in range(0x80, 0x100)}  # parts of characters
_FINISH_REASONS = {"length": "length"}  # of OpenAI's API; everything else is "stop"
_ROLES = {"user": 0, "assistant": 1}  # speakers


@dataclass(frozen=True)
class _Completion:
    """A request for texts, checked."""

    served: ServedModel
    prompts: list[str]
    label: str | None
    options: SampleOptions
    n: int
    max_tokens: int | None
    echo: bool
    logprobs: int | None
    seed: int
    usage: bool  # whether a stream ends with the counts of tokens

    @classmethod
    def of(cls, served: ServedModel, fields: Fields) -> _Completion:
        usage = _wants_usage(fields)
        prompts = fields.texts("prompt") if fields.left.get("prompt") is not None else [""]
        fields.left.pop("prompt", None)
        label = fields.take("label", str)
        n = fields.integer("n", 1, bodies.MAX_CHOICES, 1)
        max_tokens = fields.integer("max_tokens", 0, bodies.MAX_TOKENS)
        echo = fields.take("echo", bool, False)
        logprobs = fields.integer("logprobs", 0, bodies.MAX_LOGPROBS)
        seed = fields.seed()
        fields.convert_bias()
        if fields.take("best_of", int, 1) != 1 or fields.take("suffix", str, "") != "":
            raise HttpError(400, "`best_of` and `suffix` are not supported")
        if max_tokens is not None and fields.left.get("length") is None:
            fields.left["length"] = bodies.MAX_TOKENS  # the tokens decide
        options = fields.options(SampleOptions, {"seed": seed})
        if (options.length or 0) > bodies.MAX_TOKENS:
            raise HttpError(400, f"`length` must be at most {bodies.MAX_TOKENS:,}")
        if len(prompts) * n > bodies.MAX_CHOICES:
            raise HttpError(400, f"{len(prompts) * n:,} texts were asked for; {bodies.MAX_CHOICES} are allowed")
        if echo and (size := sum(map(len, prompts)) * n) > bodies.MAX_BYTES:
            raise HttpError(400, f"`echo` would repeat {size:,} characters; {bodies.MAX_BYTES:,} are allowed")
        if logprobs is not None:
            length = options.length_for(served.checkpoint.task)
            tokens = length if max_tokens is None else min(length, max_tokens)
            _check_logprobs(len(prompts) * n * tokens * (1 + logprobs))
        return cls(served, prompts, label, options, n, max_tokens, echo, logprobs, seed, usage)

    def jobs(self, limit: TimeLimit) -> list[GenerationJob]:
        """The job of each prompt, which the network has read. Takes time."""
        model, options = self.served.model, self.options
        if self.max_tokens is not None and options.grammar is not None:  # a match must come to its end
            longest = max(map(count_characters, visible_token_bytes(model.codec)))
            length = min(options.length_for(model.task), longest * self.max_tokens)
            options = dataclasses.replace(options, length=length)
        if self.logprobs is not None:
            model.require_text_task("give `logprobs`")
        if options.context_cache and len(self.prompts) > (most := sampling.engine_for(model, options).batch_size):
            raise HttpError(400, f"`context_cache` of {options.context_cache:,} allows {most} prompts in a request")
        found = []
        for prompt in self.prompts:
            request = sampling.SampleRequest(options, prompt=as_bytes(prompt), label=self.label)
            sampling.check(model, request, self.n)
            job = sampling.prepare(model, request, limit=limit)
            job.rules.stream(job.options.length_for(model.task))  # an error, if any, before a stream begins
            found.append(job)
        return found


def _check_logprobs(count: int) -> None:
    if count > MAX_LISTED:
        raise HttpError(
            400, f"the `logprobs` of {count:,} tokens and alternatives were asked for; {MAX_LISTED:,} are allowed"
        )


def _wants_usage(fields: Fields) -> bool:
    """Whether a stream shall end with a chunk that has no choice: clients that don't ask for it don't expect it."""
    options = fields.take("stream_options", dict, {})
    return options.get("include_usage") is True


async def completions(request: Request) -> Response:
    """Texts that continue prompts."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    streams = fields.take("stream", bool, False)
    wanted = _Completion.of(served, fields)
    deadline = time.monotonic() + state.timeout
    worker = served.running_worker
    if worker is None:
        worker = await state.in_thread(lambda: served.worker)
    jobs = await work_for(request, wanted.jobs)
    asked = TextRequest(client_of(request), jobs, wanted.n, wanted.max_tokens, deadline)
    worker.submit(asked)
    cancel = functools.partial(worker.cancel, asked)
    head = {"id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time()),
            "model": served.name, "seed": wanted.seed}  # fmt: skip
    if streams:
        return _stream(state, _completion_events(state, wanted, asked, head), cancel)
    samples: dict[int, Sample] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(cancel)
        async with while_connected(request):
            while len(samples) < len(asked):
                samples |= {p.index: p.sample for p in await asked.next_pieces() if p.sample is not None}
            found = {}
            for index, sample in sorted(samples.items()):
                found[index] = await _logprobs(state, wanted, jobs[index // wanted.n], sample)

    def content() -> dict[str, Any]:
        choices = [_choice(index, _shown(wanted, samples[index]), samples[index], each)
                   for index, each in found.items()]  # fmt: skip
        used = sum(sample.tokens for sample in samples.values())
        return {**head, "choices": choices, "usage": _usage(jobs, used)}

    size = sum(len(sample.text) + wanted.echo * len(sample.prompt) for sample in samples.values())
    if wanted.logprobs is None and size <= LARGE:
        return JSONResponse(content())
    return await state.in_thread(lambda: json_answer(content()))


def _shown(wanted: _Completion, sample: Sample) -> str:
    return (sample.prompt if wanted.echo else "") + sample.text


def _choice(index: int, text: str, sample: Sample | None, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    reason = None if sample is None else _FINISH_REASONS.get(sample.finish_reason, "stop")
    return {"index": index, "text": _clean(text), "logprobs": logprobs, "finish_reason": reason}


def _clean(text: str) -> str:
    """Text without surrogate escapes, which no JSON in UTF-8 has."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _usage(jobs: list[GenerationJob], used: int) -> dict[str, int]:
    return _counts(sum(len(job.prompt.primed.history) for job in jobs), used)


def _counts(read: int, used: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": used, "total_tokens": read + used}


async def _logprobs(
    state: ServerState, wanted: _Completion, job: GenerationJob, sample: Sample
) -> dict[str, Any] | None:
    """The log-probabilities of a text's tokens, and of the likeliest others, before temperature and filters."""
    if wanted.logprobs is None:
        return None
    count, model = wanted.logprobs, wanted.served.model
    before = len(_clean(sample.prompt)) if wanted.echo else 0

    def find(limit: TimeLimit) -> dict[str, Any]:
        read = dataclasses.replace(job, engine=limited(job.engine, limit))
        return _legacy_logprobs(alternatives(model, read, sample.text, count), before)

    with while_awaited() as limit:
        return await state.in_thread(lambda: find(limit))


def _legacy_logprobs(choices: list[TokenChoice], at: int) -> dict[str, Any]:
    """The object of completions. `at`: the characters before the text; a token begins after all that are complete."""
    offsets, decoder = [], codecs.getincrementaldecoder("utf-8")("replace")
    for choice in choices:
        offsets.append(at)
        at += len(decoder.decode(_bytes_of(choice.token)))
    return {
        "tokens": [choice.token for choice in choices],
        "token_logprobs": [_log(choice.probability) for choice in choices],
        "top_logprobs": [
            {choice.token: _log(choice.probability), **{name: _log(p) for name, p in choice.alternatives}}
            for choice in choices
        ],
        "text_offset": offsets,
    }


def _bytes_of(token: str) -> bytes:
    """What a token of this name writes."""
    return _BYTE_BY_NAME.get(token) or as_bytes(token)


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-300))


async def _completion_events(
    state: ServerState, wanted: _Completion, asked: TextRequest, head: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Chunks of all choices, as their text comes; the last of a choice has its finish reason and log-probabilities."""
    left, used, jobs = len(asked), 0, asked.jobs
    if wanted.echo:
        for index in range(left):
            yield {**head, "choices": [_choice(index, jobs[index // wanted.n].prompt.text, None, None)]}
            await asyncio.sleep(0)  # there may be megabytes of them
    while left:
        for piece in await asked.next_pieces():
            found = None
            if piece.sample is not None:
                left -= 1
                used += piece.sample.tokens
                async with asyncio.timeout(asked.deadline - time.monotonic()):
                    found = await _logprobs(state, wanted, jobs[piece.index // wanted.n], piece.sample)
            yield {**head, "choices": [_choice(piece.index, piece.text, piece.sample, found)]}
    if wanted.usage:
        yield {**head, "choices": [], "usage": _usage(jobs, used)}


# ---- Chat ----


@dataclass(frozen=True)
class _Chat:
    """A request for replies, checked."""

    served: ServedModel
    turns: list[tuple[int, str]]
    options: SampleOptions
    reply_options: ReplyOptions
    n: int
    max_tokens: int | None
    logprobs: int | None  # other tokens beside each
    seed: int
    usage: bool

    @classmethod
    def of(cls, served: ServedModel, fields: Fields) -> _Chat:
        usage = _wants_usage(fields)
        turns = _turns(fields.take("messages", list, []))
        n = fields.integer("n", 1, bodies.MAX_CHOICES, 1)
        seed = fields.seed()
        limits = [fields.integer(name, 1, bodies.MAX_TOKENS) for name in ("max_tokens", "max_completion_tokens")]
        max_tokens = min((limit for limit in limits if limit is not None), default=None)
        others = fields.integer("top_logprobs", 0, bodies.MAX_LOGPROBS)
        logprobs = (others or 0) if fields.take("logprobs", bool, False) else None
        if others is not None and logprobs is None:
            raise HttpError(400, "`top_logprobs` needs `logprobs`")
        if fields.left.pop("tools", None):
            raise HttpError(400, "`tools` are not supported")
        fields.convert_bias()
        own = [item.name for item in dataclasses.fields(ReplyOptions) if item.name in fields.left]
        reply: dict[str, Any] = {name: fields.left.pop(name) for name in own}
        options = fields.options(ChatOptions, {"seed": seed})
        return cls(served, turns, options, Fields(reply).options(ReplyOptions), n, max_tokens, logprobs, seed, usage)

    def sessions(self, limit: TimeLimit) -> tuple[list[ChatSession], int]:
        """A conversation for each reply, and the tokens of the turns, which are read once. Takes time."""
        session = self.served.model.conversation(self.options, self.reply_options)
        engine = session.engine
        session.engine = limited(engine, limit)
        read = sum(session.hear(words, speaker) for speaker, words in self.turns)
        session.engine = engine  # replies are drawn beyond the limit
        return session.branches(self.n), read


@dataclass(frozen=True)
class _ChatReply:
    """A reply as the client gets it: up to a stop string, or the most tokens."""

    text: str
    tokens: int
    reason: str
    logprobs: dict[str, Any] | None


async def chat_completions(request: Request) -> Response:
    """A reply to a conversation. System messages are ignored: the network has learnt conversations only."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    streams = fields.take("stream", bool, False)
    if not served.checkpoint.spec.can_chat:
        raise HttpError(400, f"{served.name!r} is a model for {served.checkpoint.task}; use /v1/completions")
    chat = _Chat.of(served, fields)
    deadline = time.monotonic() + state.timeout
    talks, read = await work_for(request, chat.sessions)
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": served.name,
            "seed": chat.seed}  # fmt: skip
    stopping = {"now": False}
    if streams:
        head["object"] = "chat.completion.chunk"
        events = _chat_events(state, chat, talks, read, head, deadline, stopping)
        return _stream(state, events, lambda: stopping.update(now=True))
    try:
        async with while_connected(request):
            replies, listed = list[_ChatReply](), 0
            for talk in talks:
                replies.append(await state.in_thread(functools.partial(_whole_reply, chat, talk, stopping)))
                listed += 0 if chat.logprobs is None else replies[-1].tokens * (1 + chat.logprobs)
                _check_logprobs(listed)
    finally:
        stopping["now"] = True
    choices = [
        {"index": index, "message": {"role": "assistant", "content": _clean(one.text)}, "finish_reason": one.reason,
         "logprobs": one.logprobs}
        for index, one in enumerate(replies)
    ]  # fmt: skip
    usage = _counts(read, sum(one.tokens for one in replies))
    content = {**head, "object": "chat.completion", "choices": choices, "usage": usage}
    return JSONResponse(content) if chat.logprobs is None else await state.in_thread(lambda: json_answer(content))


def _turns(messages: list[Any]) -> list[tuple[int, str]]:
    """Speakers and words of the messages of a conversation. Raises `HttpError`."""
    turns = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):  # parts, of which only text is understood
            parts = [part.get("text") if isinstance(part, dict) else None for part in content]
            content = None if None in parts else "".join(map(str, parts))
        if not isinstance(role, str) or not isinstance(content, str):
            raise HttpError(400, f"`messages[{number}]` must be an object with a role and a text as content")
        if role in ("system", "developer"):
            continue
        if role not in _ROLES:
            raise HttpError(400, f"`messages[{number}]`: the role must be user, assistant or system, not {role[:40]!r}")
        turns.append((_ROLES[role], content))
    if not turns or turns[-1][0] != _ROLES["user"]:
        raise HttpError(400, "`messages` must end with a message of the user")
    return turns


def _pieces_of_reply(chat: _Chat, talk: ChatSession, stopping: dict[str, bool]) -> Iterator[str | _ChatReply]:
    """The pieces of a reply as they come, up to a stop string or the most tokens; then the `_ChatReply`.

    A blank waits for what follows, since a reply ends in none.
    """
    matcher, said, taken = StopMatcher(1 << 60, chat.options.stop), "", ""  # with a finish reason once it is over
    whole, given = None, 0
    for piece in talk.reply(lambda: bool(matcher.finish_reason) or stopping["now"]):
        if isinstance(piece, Reply):
            whole = piece
        elif not matcher.finish_reason:
            allowed, reached = _first_tokens(talk, taken + piece, chat.max_tokens)
            new = matcher.push(allowed[len(taken) :])
            if reached and not matcher.finish_reason:
                new += matcher.finish("length")
            said, taken = said + new, allowed
            if new := said.strip()[given:]:
                given += len(new)
                yield new
    assert whole is not None
    if not matcher.finish_reason:
        said += matcher.finish("length" if whole.finish_reason == "length" else "stop")
    text = said.strip()
    if rest := text[given:]:
        yield rest
    tokens = whole.tokens if text == whole.text else len(talk.codec.encode(as_bytes(text)))
    yield _ChatReply(text, tokens, matcher.finish_reason, _reply_logprobs(chat, talk, text))


def _first_tokens(talk: ChatSession, text: str, most: int | None) -> tuple[str, bool]:
    """The characters that the first `most` tokens of a text complete, and whether it has so many."""
    data = as_bytes(text)
    if most is None or len(data) < most:  # a token has at least one byte
        return text, False
    ids = talk.codec.encode(data)
    if len(ids) < most:
        return text, False
    first = decode(talk.codec.text, [token - talk.codec.speakers for token in ids[:most].tolist()])
    return codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(first), True


def _reply_logprobs(chat: _Chat, talk: ChatSession, text: str) -> dict[str, Any] | None:
    """The log-probabilities of a reply's tokens, and of the likeliest others, before temperature and filters."""
    if chat.logprobs is None:
        return None
    choices = token_choices(talk.engine, talk.codec, talk.before_last_turn(), as_bytes(text), chat.logprobs)

    def entry(token: str, probability: float) -> dict[str, Any]:
        return {"token": _clean(token), "logprob": _log(probability), "bytes": list(_bytes_of(token))}

    return {
        "content": [
            {**entry(each.token, each.probability),
             "top_logprobs": [entry(other, probability) for other, probability in each.alternatives]}
            for each in choices
        ],
        "refusal": None,
    }  # fmt: skip


def _whole_reply(chat: _Chat, talk: ChatSession, stopping: dict[str, bool]) -> _ChatReply:
    *_, last = _pieces_of_reply(chat, talk, stopping)
    assert isinstance(last, _ChatReply)
    return last


async def _chat_events(
    state: ServerState, chat: _Chat, talks: list[ChatSession], read: int, head: dict[str, Any], deadline: float,
    stopping: dict[str, bool],
) -> AsyncIterator[dict[str, Any]]:  # fmt: skip
    """Chunks of one reply after the other; the last of each has its finish reason and log-probabilities."""

    def chunk(index: int, delta: dict[str, str], reply: _ChatReply | None = None) -> dict[str, Any]:
        reason, logprobs = (None, None) if reply is None else (reply.reason, reply.logprobs)
        return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": reason, "logprobs": logprobs}]}

    used = 0
    for index, talk in enumerate(talks):
        yield chunk(index, {"role": "assistant", "content": ""})
        pieces = _pieces_of_reply(chat, talk, stopping)
        while True:
            async with asyncio.timeout(deadline - time.monotonic()):
                piece = await state.in_thread(functools.partial(next, pieces, None))
            if piece is None:
                break
            if isinstance(piece, _ChatReply):
                used += piece.tokens
                yield chunk(index, {}, piece)
            else:
                yield chunk(index, {"content": _clean(piece)})
    if chat.usage:
        yield {**head, "choices": [], "usage": _counts(read, used)}


# ---- Streams ----


class _Stream(StreamingResponse):
    """A stream that calls `ended` at its end, also if its client goes away before it begins."""

    def __init__(self, content: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def _stream(state: ServerState, events: AsyncIterator[dict[str, Any]], ended: Callable[[], None]) -> StreamingResponse:
    """Server-sent events, ended by `[DONE]`. An error after the first event is an event."""

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for event in events:
                large = any(one["logprobs"] or len(one.get("text", "")) > LARGE for one in event["choices"])
                if large:
                    data = await state.in_thread(functools.partial(json_bytes, event))
                else:
                    data = json.dumps(event, ensure_ascii=False).encode()
                yield b"data: " + data + b"\n\n"
            yield b"data: [DONE]\n\n"
        except Exception as error:
            yield b"data: " + json.dumps(state.error_of(error).body()).encode() + b"\n\n"

    return _Stream(lines(), ended)
