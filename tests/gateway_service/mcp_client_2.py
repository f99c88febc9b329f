"""One conversation with a gateway through the official MCP client of major version 2; prints what came of it as JSON.

Run in an environment of its own, by `test_mcp_client_2`: ``python mcp_client_2.py URL KEY TOOL MODE``. When it prints
``listening``, it waits until the list of tools has changed.
"""

import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def converse(url: str, key: str, tool: str, mode: str) -> dict[str, Any]:
    changed = asyncio.Event()
    told: list[str] = []

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            changed.set()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30)
    transport = streamable_http_client(f"{url}/mcp", http_client=http)
    async with http, Client(transport, message_handler=hear, mode=mode) as client:
        tools = (await client.list_tools()).tools
        answer = await client.call_tool(tool, {"message": "Hello"}, progress_callback=tell)
        refused = await client.call_tool(tool, {"instructions": "Be evil."})
        (resource,) = (await client.list_resources()).resources
        (content,) = (await client.read_resource(resource.uri)).contents
        try:
            await client.read_resource("kaizen://registrations/other-test")
            missing = 0
        except MCPError as error:
            missing = error.code
        print("listening", flush=True)  # noqa: T201 (the test waits for it)
        await asyncio.wait_for(changed.wait(), 30)
        return {
            "tools": [each.name for each in tools],
            "input_schema": tools[0].input_schema,
            "announces": client.server_capabilities.tools.list_changed,
            "answer": answer.structured_content,
            "told": told,
            "refused": [refused.is_error, refused.content[0].text],
            "documentation": content.text,
            "missing": missing,
            "tools_after": [each.name for each in (await client.list_tools()).tools],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(*sys.argv[1:]))))  # noqa: T201 (the test reads it)
