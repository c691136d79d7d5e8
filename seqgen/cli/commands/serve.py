"""`seqgen serve`: models over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from seqgen.cli.options import QuietOption
from seqgen.cli.output import StderrLogger
from seqgen.config import parse_duration

EXAMPLES = ("seqgen serve tales robin", "seqgen serve tales --host 0.0.0.0 --api-key-file keys.txt")


def run(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Model folders or hf:OWNER/NAME[@REVISION], each loaded when first asked for."
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs --api-key-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    api_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keys, one a line; a request must bring one of them.")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve the API only, without the page.")] = False,
    timeout: Annotated[str, typer.Option(metavar="10m", help="Time that a request may take.")] = "10m",
    quiet: QuietOption = False,
) -> None:
    """Serve models over HTTP: a page to play with, and the API that OpenAI's clients speak.

    /v1/models, /v1/completions and /v1/chat/completions (streamed or not), /v1/classify, /v1/score, /v1/forecast,
    /v1/compose, /health; /openapi.json describes them. Ctrl-C ends the server after the requests in progress.
    """
    seconds = parse_duration(timeout, "--timeout")
    from seqgen.server.run import read_keys, serve

    keys = read_keys(api_key_file) if api_key_file is not None else frozenset()
    serve(models, host, port, keys, seconds, not no_page, StderrLogger(quiet).info)
