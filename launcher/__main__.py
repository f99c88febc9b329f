"""`python3 -m launcher`: the commands behind the Makefile."""

import signal
import sys

if __name__ == "__main__":
    # Ctrl-C before anything was started ends us without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from launcher.cli import main

    sys.exit(main(sys.argv[1:]))
