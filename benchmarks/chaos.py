"""How an installation stands a hundred sudden deaths, with a fifth of all requests to gateways failing.

`ARGS` are those of `python -m tests.chaos`: `python -m benchmarks.chaos --kills 300 --seed 7`.

Prints `{"kills", "lost", "max_recovery_s", "lease_s", "applied_twice", "stale", "other", "seed"}`; what each means
stands in `docs/operations/chaos.md`.
"""

from __future__ import annotations

import sys

from tests.chaos.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["--kills", "100", *sys.argv[1:]]))
