"""`seqgen push`: a model to the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

import typer

from seqgen.cli.options import ModelArgument, QuietOption
from seqgen.cli.output import Output, StderrLogger
from seqgen.quantities import human_size

EXAMPLES = ("seqgen push tales me/tales --dry-run", "seqgen push tales me/tales --private --license mit --language en")


def run(
    model: ModelArgument,
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository, made if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    license_name: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="Licence of the model, as the hub names it.")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="CODE", help="Language of the model: en, zh, …")
    ] = None,
    with_corpus: Annotated[
        bool, typer.Option("--with-corpus", help="Push the saved corpus too, from which the training text can be read.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and the card, and push nothing.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Push a model to the Hugging Face hub, where `hf:OWNER/NAME` is a MODEL for every command.

    The state to resume from stays here. The token is that of `hf auth login`, or HF_TOKEN.
    """
    from seqgen.api.open import open_checkpoint
    from seqgen.checkpoint import CARD
    from seqgen.interop import hub

    upload = hub.make_upload(open_checkpoint(model), repository, license_name, language, with_corpus)
    if dry_run:
        with Output("-") as out:
            for name, data in upload.files.items():
                size = len(data) if isinstance(data, bytes) else data.stat().st_size
                out.write(f"{name:20} {human_size(size):>9}\n")
            card = upload.files[CARD]
            assert isinstance(card, bytes)
            out.write(b"\n" + card)
        return
    address = hub.push(upload, private)
    StderrLogger(quiet).info(f"pushed {human_size(upload.size)}")
    with Output("-") as out:
        out.write(f"{address}\n")
