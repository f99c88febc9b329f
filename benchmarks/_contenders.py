"""What the gateway is measured against, each in the gateway's environment: `python -m benchmarks._contenders NAME …`.

`fastapi PORT` and `nexus PORT` serve until they are terminated. `kailash` answers each line of standard input,
`{"connections", "seconds"}`, with what the runtime does when it is called directly.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from dataclasses import asdict
from typing import Any

from benchmarks._load import Seen

WORKFLOW = "letter"
TEMPLATE = "Hello {{message}}"
ANSWER = "Hello you"
_BLANK = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def fastapi(port: int) -> None:
    """FastAPI and uvicorn as the gateway has them, and one route that answers the same text at once."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def answer() -> dict[str, str]:
        return {"text": ANSWER}

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def nexus(port: int) -> None:
    """Nexus's own HTTP server, without what it would refuse or cache, and without its logs."""
    from kailash.runtime.async_local import AsyncLocalRuntime
    from nexus import Nexus

    logging.disable(logging.WARNING)
    app = Nexus(
        api_port=port, mcp_port=port + 1, enable_durability=False, rate_limit=None, enable_auth=False,
        auto_discovery=False, runtime=AsyncLocalRuntime(execution_timeout=0),
    )  # fmt: skip
    app.register(WORKFLOW, _workflow())
    app.start(blocking=True)


def kailash() -> None:
    """The runtime, called in a loop by as many tasks as there would be connections."""
    import uvloop
    from kailash.runtime.async_local import AsyncLocalRuntime

    logging.disable(logging.WARNING)
    workflow, runtime = _workflow(), AsyncLocalRuntime(max_concurrent_nodes=512, execution_timeout=0)

    async def measure(connections: int, seconds: float) -> Seen:
        latencies: list[float] = []
        end = time.perf_counter() + seconds

        async def caller() -> None:
            while (began := time.perf_counter()) < end:
                results, _ = await runtime.execute_workflow_async(workflow, inputs={"letter": {"message": "you"}})
                assert results["letter"]["text"] == ANSWER
                latencies.append(time.perf_counter() - began)

        await asyncio.gather(*(caller() for _ in range(connections)))
        return Seen.of(latencies, seconds)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(1, 0.5))
        for line in sys.stdin:
            print(json.dumps(asdict(runner.run(measure(**json.loads(line))))), flush=True)


def _workflow() -> Any:
    from kailash.nodes.base import NodeParameter
    from kailash.nodes.base_async import AsyncNode
    from kailash.workflow.graph import Workflow

    class Letter(AsyncNode):  # type: ignore[misc]  # kailash has no types
        """The gateway's Template node, as somebody would write it for kailash."""

        def get_parameters(self) -> dict[str, NodeParameter]:
            return {"message": NodeParameter(name="message", type=str, required=False, default="")}

        async def async_run(self, **inputs: Any) -> dict[str, Any]:
            return {"text": _BLANK.sub(lambda match: str(inputs[match.group(1)]), TEMPLATE)}

    workflow = Workflow(workflow_id=WORKFLOW, name=WORKFLOW)
    workflow.add_node("letter", Letter())
    return workflow


if __name__ == "__main__":
    {"fastapi": fastapi, "nexus": nexus, "kailash": kailash}[sys.argv[1]](*map(int, sys.argv[2:]))
