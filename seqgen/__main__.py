"""`python -m seqgen`, and what the command `seqgen` calls."""

import signal
import sys


def main() -> int:
    """The program. While its parts are still being read Ctrl-C ends it like any other, without a word: there is nothing
    yet that could take it in."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seqgen.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    return run()


if __name__ == "__main__":
    sys.exit(main())
