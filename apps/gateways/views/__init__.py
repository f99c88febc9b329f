"""Pages of environments, gateways and caller keys."""

from apps.gateways.views.environments import EnvironmentCreate, EnvironmentDetail, EnvironmentEdit, EnvironmentList
from apps.gateways.views.gateways import (
    GatewayAcceptIdentity,
    GatewayDetail,
    GatewayEdit,
    GatewayForget,
    GatewayList,
    GatewayRegister,
    GatewayRemove,
    GatewayRetry,
)
from apps.gateways.views.keys import KeyCreate, KeyDetail, KeyLimit, KeyList, KeyRevoke

__all__ = [
    "EnvironmentCreate",
    "EnvironmentDetail",
    "EnvironmentEdit",
    "EnvironmentList",
    "GatewayAcceptIdentity",
    "GatewayDetail",
    "GatewayEdit",
    "GatewayForget",
    "GatewayList",
    "GatewayRegister",
    "GatewayRemove",
    "GatewayRetry",
    "KeyCreate",
    "KeyDetail",
    "KeyLimit",
    "KeyList",
    "KeyRevoke",
]
