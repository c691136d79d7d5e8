"""`seqgen doctor`: what this machine and installation give."""

from __future__ import annotations

import typer

from seqgen.cli.options import JsonOption, QuietOption
from seqgen.cli.output import Output, hanging, to_json
from seqgen.untrusted import one_line

EXAMPLES = ("seqgen doctor", "seqgen doctor --json")

_WIDTH = 17  # of names


def run(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Examine this machine and the installation, and measure their speed.

    Exit status 0 if training works, otherwise 1.
    """
    # `quiet` is accepted as by every command; there are no messages to suppress
    from seqgen.api.doctor import examine

    findings = []
    with Output("-") as out:
        for finding in examine():
            findings.append(finding)
            if not as_json:
                out.write(hanging(f"{finding.name:{_WIDTH}}", one_line(finding.text), out.terminal))
                if finding.remedy:
                    out.write(hanging(f"{'':{_WIDTH}}→ ", one_line(finding.remedy), out.terminal))
        broken = [finding.name for finding in findings if finding.remedy and finding.prevents_training]
        if as_json:
            result = {"trains": not broken, "findings": {each.name: each.to_json() for each in findings}}
            out.write(to_json(result, indent=1) + "\n")
        else:
            verdict = f"does not work: see {', '.join(broken)}" if broken else "works"
            out.write(f"{'training':{_WIDTH}}{verdict}\n")
    if broken:
        raise typer.Exit(1)
