"""The entry point of `python -m seqgen` and of the command `seqgen`."""

import signal
import sys


def main() -> int:
    """Run the command line. During its imports Ctrl-C ends the process silently, because nothing handles it yet."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seqgen.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    return run()


if __name__ == "__main__":
    sys.exit(main())
