"""`/v1/classify`, `/v1/score`, `/v1/forecast` and `/v1/compose`."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from seqgen.api import classifying, composing, forecasting, sampling, scoring
from seqgen.api.forecasting import Forecast
from seqgen.api.sampling import SampleRequest
from seqgen.config import ClassifyOptions, ForecastOptions, MusicOptions, SampleOptions, make_options
from seqgen.corpus.documents import Spool
from seqgen.errors import DataError, ModelChangedError, UserError
from seqgen.music.midi import write as write_midi
from seqgen.music.piece import Piece
from seqgen.server import bodies
from seqgen.server.answers import MAX_LISTED, json_answer
from seqgen.server.errors import HttpError
from seqgen.server.state import state_of, work_for
from seqgen.time_limit import TimeLimit
from seqgen.tokenizers import Codec, encode_stream
from seqgen.untrusted import as_bytes

_MAX_NUMBERS = 1 << 18  # that are forecast, intervals aside: hundreds of bytes of the answer each
_MAX_SECONDS = 1200  # of audio: a fifth of a gigabyte
_FORMATS = {"midi": "audio/midi", "wav": "audio/wav", "json": "application/json"}


async def classify(request: Request) -> Response:
    """The labels of texts, with probabilities."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    texts = fields.texts("input")
    options = fields.options(ClassifyOptions)

    def run(limit: TimeLimit) -> Response:
        data, listed = [], 0
        for index, one in enumerate(classifying.predict(served.model, map(as_bytes, texts), options, limit)):
            data.append({"index": index, **one.to_json()})
            listed += len(one.labels) + len(one.sentences or ())
            if listed > MAX_LISTED:
                raise HttpError(
                    400, f"the answer would list more than {MAX_LISTED:,} labels and sentences; send less `input`"
                )
        return json_answer({"object": "list", "model": served.name, "data": data})

    return await work_for(request, run)


async def score(request: Request) -> Response:
    """How probable texts are: tokens, nats and bits per byte, in total or per token."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    texts = fields.texts("input")
    per_token = fields.take("per_token", bool, False)
    _require_no_more(fields)
    if not served.checkpoint.spec.is_plain_text:
        raise HttpError(400, f"{served.name!r} is a model for {served.checkpoint.task}; scores are of texts")

    def run(limit: TimeLimit) -> Response:
        if per_token:
            _check_listed(served.model.codec, [as_bytes(text) for text in texts])
        data = []
        for index, text in enumerate(texts):
            one = scoring.score(served.model, text, "", per_token, limit=limit)
            entry: dict[str, Any] = {"index": index, "tokens": one.tokens, "nats": one.nats}
            entry["bits_per_byte"] = one.bits_per_byte
            if one.per_token is not None:
                entry["per_token"] = [{"token": token, "nats": nats} for token, nats in one.per_token]
            data.append(entry)
        return json_answer({"object": "list", "model": served.name, "data": data})

    return await work_for(request, run)


def _check_listed(codec: Codec, texts: list[bytes]) -> None:
    """Raise `HttpError` if the texts have too many tokens to list."""
    if sum(map(len, texts)) <= MAX_LISTED:  # a token has at least one byte
        return
    tokens = sum(len(ids) for text in texts for ids in encode_stream(codec, [text]))
    if tokens > MAX_LISTED:
        raise HttpError(400, f"`per_token` would list {tokens:,} tokens; {MAX_LISTED:,} are allowed")


async def forecast(request: Request) -> Response:
    """Forecasts from the last row of a table, sent as `csv` in JSON, with the warnings about the table."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    table = fields.take("csv", str)
    if not table:
        raise HttpError(400, "`csv` must be the text of a table")
    options = fields.options(ForecastOptions)
    warnings: list[str] = []

    def run(limit: TimeLimit) -> Response:
        with Spool() as spool:  # which the next command clears away if this one is killed
            try:
                path = spool.store([table.encode("utf-8", "replace")], "`csv`", ".csv")
            except DataError as error:
                raise HttpError(503, str(error)) from error

            def named(message: str) -> str:
                message = message.replace(", or learn its bytes with --tokenizer byte", "")  # as text
                return message.replace(repr(str(path)), "`csv`").replace(str(path), "`csv`")

            try:
                config = served.checkpoint.forecaster_config
                numbers = config.targets * (options.horizon or config.horizon)
                with contextlib.closing(
                    forecasting.forecast_sources(
                        served.model, [str(path)], options, lambda text: warnings.append(named(text)), limit
                    )
                ) as made:
                    data = _forecast_objects(made, numbers, bool(options.backtest))
            except ModelChangedError:
                raise
            except UserError as error:
                raise HttpError(400, named(str(error))) from error
        return json_answer({"object": "list", "model": served.name, "data": data, "warnings": warnings})

    return await work_for(request, run)


def _forecast_objects(made: Iterable[Forecast], numbers: int, backtest: bool) -> list[dict[str, Any]]:
    """The objects of forecasts with so many `numbers` each. Raises `HttpError` if they have too many together."""
    found: list[dict[str, Any]] = []
    too_many = HttpError(
        400, f"the forecasts would have more than {_MAX_NUMBERS:,} numbers; ask for a shorter `horizon` or fewer series"
    )
    if numbers > _MAX_NUMBERS:  # before the first is made
        raise too_many
    for one in made:
        if numbers * (len(found) + 1) > _MAX_NUMBERS:
            raise too_many
        found.append(one.to_dict(backtest))
    return found


async def compose(request: Request) -> Response:
    """Pieces of music: one as a MIDI or wave file, or several as JSON with MIDI in base64."""
    state = state_of(request)
    fields = await bodies.read_object(request)
    served = state.models.find(fields.take("model", str))
    if not served.checkpoint.spec.composes:
        raise HttpError(400, f"{served.name!r} is a model for {served.checkpoint.task}; it composes nothing")
    kind = fields.take("format", str, "midi")
    if kind not in _FORMATS:
        raise HttpError(400, f"`format` must be one of {', '.join(_FORMATS)}")
    n = fields.integer("n", 1, bodies.MAX_PIECES, 1)
    if n > 1 and kind != "json":
        raise HttpError(400, "several pieces come as `format` json")
    music = {"key": fields.take("key", str), "tempo": fields.take("tempo", (int, float))}
    seed = fields.seed()
    fields.convert_bias()
    options = fields.options(SampleOptions, {"seed": seed})
    if (options.length or 0) > bodies.MAX_BARS:
        raise HttpError(400, f"`length` must be at most {bodies.MAX_BARS} bars")

    def run(limit: TimeLimit) -> Response:
        asked = SampleRequest(options, music_options=make_options(MusicOptions, music))
        sampling.check(served.model, asked, n)
        pieces = list(composing.compose(served.model, asked, n, limit=limit))
        files, headers = [write_midi(one.piece) for one in pieces], {"X-Seed": str(seed)}
        if kind == "json":
            data = [
                {"index": one.index, "bars": one.bars, "finish_reason": one.finish_reason, **_notes(one.piece),
                 "midi": base64.b64encode(file).decode()}
                for one, file in zip(pieces, files, strict=True)
            ]  # fmt: skip
            return json_answer({"object": "list", "model": served.name, "data": data, "seed": seed})
        if kind == "wav":
            from seqgen.rendering.audio import Clock, wave

            if (seconds := Clock(pieces[0].piece).seconds(pieces[0].piece.length)) > _MAX_SECONDS:
                raise HttpError(
                    400, f"the piece lasts {seconds:,.0f} seconds; {_MAX_SECONDS:,} are allowed as `format` wav"
                )
            return Response(b"".join(wave(pieces[0].piece)), headers=headers, media_type=_FORMATS[kind])
        return Response(files[0], headers=headers, media_type=_FORMATS[kind])

    return await work_for(request, run)


def _notes(piece: Piece) -> dict[str, Any]:
    """The notes of a piece, timed, and its length in seconds."""
    from seqgen.rendering.audio import Clock, timed_notes

    clock = Clock(piece)
    return {"seconds": clock.seconds(piece.length), "notes": timed_notes(piece, clock)}


def _require_no_more(fields: bodies.Fields) -> None:
    if left := [name for name, value in fields.left.items() if name not in bodies.IGNORED and value is not None]:
        raise HttpError(400, f"there is no field {left[0][:60]!r}")
