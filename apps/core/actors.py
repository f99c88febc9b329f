"""Who acts: the value that every command, decision and audit event carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from apps.core.tenancy import current_schema

if TYPE_CHECKING:
    from apps.accounts.models import User

ActorKind = Literal["user", "operator", "system", "anonymous"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A principal at the moment it acts.

    Attributes:
        kind: `user` is a member of the organization, `operator` a user of the public schema, `system` the product
            itself (reconciler, scanner, seed), `anonymous` a stranger.
        id: primary key of the user, empty for `system` and `anonymous`.
        label: what a person reads in the log, such as the email address.
        via: how the actor came in: `session`, `token:{id}`, `command-line`, `worker`.
        address: the client's address as the web server saw it, empty where there is none.
        user: the live user row behind the actor, if any. It takes no part in comparison and never reaches the log.
        schema: where the user is known. In any other schema the actor is a stranger.
    """

    kind: ActorKind
    id: str
    label: str
    via: str = ""
    address: str = ""
    user: User | None = field(default=None, compare=False, repr=False)
    schema: str = ""

    @classmethod
    def of(cls, user: User, *, via: str = "session", address: str = "") -> Actor:
        """The member behind a signed-in session or a token."""
        return cls("user", str(user.pk), user.email, via, address, user, current_schema())

    @classmethod
    def operator(cls, user: User, *, address: str = "") -> Actor:
        """An operator of the installation, who is a user of the public schema."""
        return cls("operator", str(user.pk), user.email, "session", address, user, current_schema())

    @classmethod
    def system(cls, name: str = "studio") -> Actor:
        """The product itself. It passes the decision function by a rule of its own, which the trace names."""
        return cls("system", "", name, "worker")

    @classmethod
    def anonymous(cls, *, address: str = "") -> Actor:
        return cls("anonymous", "", "anonymous", "", address)
