"""How the embedded language model is started, and how gateways find it."""

from launcher import probes
from launcher.addresses import Port
from launcher.layout import CHECKOUT, MODEL_PYTHON
from launcher.supervision import Program

_NAME = "smollm2-135m-instruct"


def program(port: Port) -> Program:
    """The model's server."""
    return Program(
        name="model",
        command=(str(MODEL_PYTHON), str(CHECKOUT / "launcher" / "model_server.py"), str(port.number)),
        ready=probes.http_ok(f"{port.url}/health"),
        stop_seconds=5,
    )


def gateway_variables(port: Port) -> dict[str, str]:
    """What tells a gateway that its default model profile is the embedded model."""
    return {"GATEWAY_MODEL_BASE_URL": f"{port.url}/v1", "GATEWAY_MODEL_NAME": _NAME}
