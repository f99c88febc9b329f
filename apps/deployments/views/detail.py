"""The page of one deployment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.audit.tables import EventTable
from apps.core.pages import DetailPage, Tab
from apps.core.pages.base import ObjectPage, require
from apps.deployments.live import progress_context
from apps.deployments.models import Deployment
from apps.deployments.queries import earlier_releases, events_about
from apps.deployments.rollouts import effective_plan
from apps.deployments.snippets import example_inputs, snippets
from apps.deployments.tables import DEPLOY_HERE, ROLL_BACK, UNDEPLOY, RolloutTable
from apps.deployments.views.base import TRAIL
from apps.gateways.snippets import caller_address
from contract.release import Release as ReleaseDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse


def _overview(page: DeploymentDetail) -> Mapping[str, Any]:
    return {
        **progress_context(page.actor, page.object),
        "plan": effective_plan(page.object, page.object.environment_id),
        "recent": page.object.rollouts.select_related("from_release__agent_version", "to_release__agent_version")[:5],
        "earlier": earlier_releases(page.object)[:5],
    }


def playground_context(deployment: Deployment) -> dict[str, Any]:
    """What the conversation says before its first message: what the agent wants to hear."""
    if deployment.release is None:
        return {}
    inputs = ReleaseDocument.parse(bytes(deployment.release.body)).interface.inputs
    others = sorted(set(inputs.get("properties", {})) - {"message"})
    if not others:
        return {"intro": "What you write goes through the gateway to the deployed agent."}
    return {
        "intro": f"This agent also takes {', '.join(others)}: write a JSON object such as "
        f"{json.dumps(example_inputs(inputs), ensure_ascii=False)}"
    }


def _calling(page: DeploymentDetail) -> Mapping[str, Any]:
    deployment: Deployment = page.object
    address = caller_address(deployment.environment).rstrip("/")
    if deployment.release is None or not address:
        return {"snippets": []}
    inputs = ReleaseDocument.parse(bytes(deployment.release.body)).interface.inputs
    return {
        "address": address,
        "schema": inputs,
        "snippets": snippets(deployment, address, example_inputs(inputs)),
    }


def _playground(page: DeploymentDetail) -> Mapping[str, Any]:
    return playground_context(page.object)


def _history(page: DeploymentDetail) -> Mapping[str, Any]:
    rollouts = page.object.rollouts.select_related("from_release__agent_version", "to_release__agent_version")
    return {
        "table": page.tabulate(RolloutTable, rollouts),
        "events": page.tabulate(EventTable, events_about(page.object), prefix="events-", per_page=10),
    }


class DeploymentDetail(DetailPage):
    """One agent in one environment: how it stands on each gateway, and what can be done about it."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    trail = TRAIL
    panels = "deployment"
    tabs = [
        Tab("overview", "Overview", template="deployments/tabs/overview.html", context=_overview),
        Tab(
            "playground",
            "Playground",
            template="deployments/tabs/playground.html",
            context=_playground,
            action="playground.open",
        ),
        Tab("call", "Call it", template="deployments/tabs/call.html", context=_calling),
        Tab("history", "History", template="deployments/tabs/history.html", context=_history),
    ]

    def context(self) -> dict[str, Any]:
        return {**super().context(), "actions": (DEPLOY_HERE, ROLL_BACK, UNDEPLOY)}


class DeploymentPlayground(ObjectPage):
    """The playground alone, for a page that loads it on demand."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names().wanted()

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        require(request, "playground.open", self.object)
        return render(
            request, "deployments/playground.html", {"object": self.object, **playground_context(self.object)}
        )
