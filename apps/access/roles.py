"""The built-in roles, as patterns over action names.

A role is a Django group of every tenant. `roles.sync` turns the patterns into permission rows whenever the schema is
migrated, so that a new command is part of the right roles without another list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Role:
    """A named bundle of actions.

    Attributes:
        name: the group's name.
        summary: what a person with it is for.
        allows: patterns of actions granted on the whole organization.
        excludes: patterns taken out of `allows`.
        on_environments: actions granted only on the named environments (`*` for all), as object grants.
    """

    name: str
    summary: str
    allows: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    on_environments: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def grants(self, action: str) -> bool:
        """Whether the role carries the action on the whole organization."""
        return _any(action, self.allows) and not _any(action, self.excludes)

    def granted_on_environment(self, action: str, environment: str) -> bool:
        """Whether the role carries the action on one environment."""
        return any(
            _any(action, actions) for name, actions in self.on_environments.items() if name in ("*", environment)
        )


def _any(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(action, pattern) for pattern in patterns)


_DELIVERY = ("environment.deploy", "deployment.*")
_AUTHORING = ("agent.*", "agent-version.*", "playground.*")

ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("owner", "Everything, including who else is an owner.", ("*",)),
        Role("admin", "Everything but making and unmaking owners.", ("*",), ("user.grant-ownership",)),
        Role(
            "builder",
            "Writes agents, publishes versions, deploys to development.",
            ("*.view", *_AUTHORING),
            on_environments={"development": (*_DELIVERY, "caller-key.*")},
        ),
        Role(
            "approver",
            "Reads everything; deploys to, rolls back in and stops what runs in every environment.",
            ("*.view", "playground.*", "stop.*"),
            on_environments={"*": _DELIVERY},
        ),
        Role("viewer", "Reads everything, changes nothing.", ("*.view",)),
    )
}
# What everybody may do to himself needs no role: see `decide`.
PERSONAL_ACTIONS = ("api-token.create", "api-token.revoke", "api-token.view", "user.update-profile")
