"""`seqgen export`: a language model for other programs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from seqgen.cli.options import ModelArgument, QuietOption
from seqgen.cli.output import Output, StderrLogger
from seqgen.errors import UserError
from seqgen.quantities import human_size
from seqgen.streams import is_terminal

EXAMPLES = ("seqgen export tales -o tales.onnx", "seqgen export tales --torch -o tales.safetensors")


def run(
    model: ModelArgument,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE|-", help="File to write; - is standard output.")
    ] = None,
    torch: Annotated[
        bool, typer.Option("--torch", help="Write a state dict of nn.Embedding, nn.LSTM and nn.Linear instead of ONNX.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a language model (text, dialogue or music) as an ONNX graph, or as weights for PyTorch's modules.

    The graph takes ids and states and returns logits and states. `seqgen docs python` shows programs that use either.
    """
    from seqgen.api.open import open_checkpoint

    if output is None:
        raise UserError("name a file to write with -o, such as model.onnx")
    written = ".onnx" if not torch else ".safetensors"
    if output != "-" and output.endswith((".onnx", ".safetensors")) and not output.endswith(written):
        raise UserError(f"{output!r} would hold {written[1:]}: {'drop' if torch else 'add'} --torch, or rename it")
    if output == "-" and is_terminal(sys.stdout):
        raise UserError(f"cannot show {written[1:]} on a terminal: write it with -o FILE{written}, or to a pipe")
    loaded = open_checkpoint(model)
    if torch:
        from seqgen.interop.torch_weights import export_torch

        data = export_torch(loaded)
    else:
        from seqgen.interop.onnx import export_onnx

        data = export_onnx(loaded)
    with Output(output) as out:
        out.write(data)
    if output != "-":
        StderrLogger(quiet).info(f"wrote {output} ({human_size(len(data))})")
