"""The entry point of `python -m seqgen` and of the command `seqgen`."""

import signal
import sys


def main() -> int:
    """Run the command line. During its imports Ctrl-C ends the process silently, because nothing handles it yet."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from seqgen.cli.main import main as run
    except (ImportError, MemoryError, SystemError) as error:  # a damaged installation, or no room for it
        sys.exit(f"seqgen: error: cannot start: {error or type(error).__name__}; is there enough memory?")

    signal.signal(signal.SIGINT, before)
    return run()


if __name__ == "__main__":
    sys.exit(main())
