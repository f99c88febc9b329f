"""`make requirements`: compile every `.in` file into pinned and hashed requirements."""

import os

from launcher import environments
from launcher.children import Children
from launcher.layout import CHECKOUT, ENVIRONMENTS, STUDIO_PYTHON
from launcher.progress import Progress

# In this order: the tools' requirements are constrained by Studio's.
_SOURCES = (
    ("requirements.in", ()),
    ("requirements-dev.in", ()),
    ("gateway_service/requirements.in", ()),
    ("launcher/model-requirements.in", ("--no-deps",)),
    ("tests/gateway_service/mcp_client_2_requirements.in", ()),
)
# The oldest Python that is supported, so that what only it needs is in the list, with a marker.
_PYTHON = "3.11"


def compile_all(*, progress: Progress, children: Children) -> int:
    """Compile with the uv of the tools' environment. What is pinned stays, unless its `.in` file says otherwise."""
    environments.install((environments.STUDIO_WITH_TOOLS,), children=children, progress=progress)
    uv = STUDIO_PYTHON.parent / "uv"
    options = ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    for source, extra in _SOURCES:
        target = source.removesuffix(".in") + ".txt"
        with progress.step(target, "resolving", "written"):
            children.run(
                [uv, "pip", "compile", "--quiet", "--python-version", _PYTHON, *options, *extra, source, "-o", target],
                log=ENVIRONMENTS / "requirements.log",
                name=f"uv pip compile {source}",
                folder=CHECKOUT,
                environment=os.environ,
            )
    return 0
