"""Events as sentences: who did what, in the words of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.audit.models import Event

# What an action did to the resource whose name follows. An action that is missing here is shown by its own name, and a
# test says so.
_PHRASES = {
    "agent.create": "wrote the agent",
    "agent.delete": "deleted the agent",
    "agent.duplicate": "duplicated the agent",
    "agent.edit": "edited the agent",
    "agent.hand-over": "handed over the agent",
    "agent.publish": "published",
    "agent.restore": "restored the agent",
    "agent.restore-version": "went back to an earlier version of",
    "api-token.create": "made the API token",
    "api-token.revoke": "revoked the API token",
    "caller-key.adopt-revocation": "took over that a gateway had revoked",
    "caller-key.create": "made the caller key",
    "caller-key.limit": "changed the limits of the caller key",
    "caller-key.revoke": "revoked the caller key",
    "deployment.approve": "approved the next step of the rollout of",
    "deployment.cancel": "cancelled the rollout of",
    "deployment.force": "forced the rollout of",
    "deployment.pause": "paused the rollout of",
    "deployment.release-hold": "released the hold on",
    "deployment.resume": "resumed the rollout of",
    "deployment.retry": "retried",
    "deployment.rollback": "rolled back",
    "deployment.set-plan": "changed how rollouts go of",
    "deployment.undeploy": "undeployed",
    "environment.create": "made the environment",
    "environment.deploy": "deployed to",
    "environment.set-rollout-policy": "changed the rollout policy of",
    "environment.edit": "changed the environment",
    "gateway.accept-identity": "accepted the new identity of",
    "gateway.drain": "saw draining:",
    "gateway.drift": "found changed by somebody else:",
    "gateway.drop-executions": "came too late for executions of",
    "gateway.edit": "changed the gateway",
    "gateway.forget": "forgot the gateway",
    "gateway.identify": "met the gateway",
    "gateway.leave": "let go of the gateway",
    "gateway.lose": "lost contact with",
    "gateway.lose-execution-log": "found a new execution log on",
    "gateway.recover": "reached again",
    "gateway.refuse": "was refused by, or refused,",
    "gateway.register": "registered the gateway",
    "gateway.remove": "began to remove the gateway",
    "gateway.retry": "retried",
    "gateway.take-over": "took over what was already on",
    "model-price.remove": "removed the price of",
    "model-price.set": "set the price of",
    "organization.create": "founded",
    "organization.restore": "restored",
    "organization.suspend": "suspended",
    "playground.close": "ended a conversation with",
    "playground.open": "talked to",
    "rollout.degrade": "found worse than before and took back",
    "rollout.pause": "paused",
    "rollout.succeeded": "finished",
    "signing-key.create": "made the signing key",
    "stop.adopt": "took over from a gateway:",
    "stop.agent": "stopped the agent",
    "stop.author": "stopped everything of",
    "stop.confirm": "had every gateway's receipt for:",
    "stop.lift": "lifted:",
    "stop.release": "stopped the release",
    "stop.retry": "retried:",
    "user.change-role": "changed the role of",
    "user.create": "added",
    "user.deactivate": "deactivated",
    "user.grant-ownership": "made an owner of",
    "user.reactivate": "reactivated",
    "user.sign-in": "signed in",
    "user.sign-in-failed": "could not sign in as",
    "user.sign-out": "signed out",
    "user.update-profile": "changed the profile of",
}
# What it happened to is the actor, or has a name that says nothing to a person.
_NAMELESS = {"signing-key.create", "user.sign-in", "user.sign-out"}


_ICONS = {
    "agent": "robot",
    "api-token": "key",
    "caller-key": "key",
    "deployment": "rocket",
    "environment": "stack-2",
    "gateway": "server-2",
    "organization": "building",
    "playground": "message",
    "rollout": "rocket",
    "stop": "hand-stop",
    "user": "user",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One event in words.

    Attributes:
        icon: a drawing for what it is about.
        who: the person's address up to the @, or Studio.
        did: what was done, so that `what` can follow.
        what: the name of the thing; may be empty.
        refused: why it was refused, or "".
    """

    icon: str
    who: str
    did: str
    what: str
    refused: str = ""


def phrase(action: str) -> str:
    """The words for an action; its own name if there are none."""
    return _PHRASES.get(action, action)


def sentence(event: Event) -> Sentence:
    """The event in words."""
    icon = "rocket" if event.action == "environment.deploy" else _ICONS.get(event.resource_type, "bolt")
    who = "Studio" if event.actor_kind == "system" else event.actor_label.partition("@")[0] or event.actor_label
    what = "" if event.action in _NAMELESS else event.resource_label
    if event.outcome == "denied":
        return Sentence("shield-x", who, f"was refused {event.action} on", what, str(event.detail.get("reason", "")))
    if event.action == "environment.deploy" and "agent" in event.detail:
        return Sentence(icon, who, f"deployed {event.detail['agent']} version {event.detail.get('version')} to", what)
    return Sentence(icon, who, phrase(event.action), what)
