"""The entry point of `python -m seqgen` and of the command `seqgen`."""

import contextlib
import os
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
    status = run()
    if status > 128:  # stopped by a signal, which is answered at once: the interpreter takes a second to unload PyTorch
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not there
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
