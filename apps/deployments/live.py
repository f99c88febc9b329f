"""What pages show of the present moment of deployments and rollouts, re-rendered for each viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string

from apps.core.errors import NotFound
from apps.core.live import fragment
from apps.core.permissions import which
from apps.core.ports import ports
from apps.deployments.models import Deployment, Rollout
from apps.deployments.queries import current_rollout, progress_of, status_of
from apps.deployments.scorecards import scorecard
from apps.telemetry.courses import Line, courses_of, error_chart, latency_chart, volume_chart

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from apps.core.actors import Actor
    from apps.deployments.queries import RolloutProgress

CHART_HEIGHT_PX = 150
_STEERING = ("approve", "force", "pause", "resume", "cancel", "retry", "rollback", "release-hold", "set-plan")


@fragment(
    "deployment", listens_to=("deployment", "rollout", "placement", "gateway", "environment", "execution", "stop")
)
def deployment_progress(actor: Actor, identifier: str) -> str:
    """The progress of one deployment, gateway by gateway.

    Raises:
        NotFound: it does not exist, or the actor may not see it.
    """
    visible = ports.visible(Deployment.objects.with_names(), actor, "deployment.view")
    deployment = _found(visible, identifier, "deployment")
    return render_to_string("deployments/live/deployment.html", progress_context(actor, deployment))


@fragment("rollout", listens_to=("rollout", "deployment", "placement", "gateway", "execution", "stop"))
def rollout_progress(actor: Actor, identifier: str) -> str:
    """One rollout, step by step.

    Raises:
        NotFound: it does not exist, or the actor may not see it.
    """
    rollout = _found(ports.visible(rollouts_with_names(), actor, "rollout.view"), identifier, "rollout")
    return render_to_string("deployments/live/rollout.html", rollout_context(actor, rollout))


def rollouts_with_names() -> QuerySet[Rollout]:
    """Rollouts with everything that their page names, in one query."""
    names = ("from_release__agent_version__agent", "to_release__agent_version__agent")
    return Rollout.objects.select_related("deployment__agent", "deployment__environment", *names)


def drawn_rollout(deployment: Deployment) -> Rollout | None:
    """The rollout that the deployment's page draws: the newest, or the one that it took back for being worse.

    None where a list of gateways says everything: nobody planned steps, and nobody compares.
    """
    latest = list(rollouts_with_names().filter(deployment=deployment).order_by("-generation")[:2])
    if len(latest) == 2 and latest[0].kind == Rollout.Kind.ROLLBACK and latest[1].state == Rollout.State.DEGRADED:
        return latest[1]
    return latest[0] if latest and latest[0].decides else None


def progress_context(actor: Actor, deployment: Deployment) -> dict[str, Any]:
    """What the progress template needs; the page renders the same template at first."""
    rollout = drawn_rollout(deployment)
    drawn = rollout_context(actor, rollout) if rollout is not None else _permissions(actor, deployment)
    return {**drawn, "deployment": deployment, "status": status_of(deployment), "current": current_rollout(deployment)}


def rollout_context(actor: Actor, rollout: Rollout) -> dict[str, Any]:
    """What the drawing of a rollout needs."""
    progress = progress_of(rollout)
    return {
        **_permissions(actor, rollout.deployment),
        "deployment": rollout.deployment,
        "rollout": rollout,
        "progress": progress,
        "lines": scorecard(progress.old, progress.new, progress.plan.gate),
        "charts": _charts(progress),
    }


def _charts(progress: RolloutProgress) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, what stands for an empty one, and figures of each chart; none where there is nothing to compare."""
    rollout = progress.rollout
    both = ((rollout.from_release, "gray"), (rollout.to_release, "blue"))
    lines = [Line(each.digest, f"version {each.number}", colour) for each, colour in both if each is not None]
    if rollout.to_release is None or not any(
        figures and figures.executions for figures in (progress.old, progress.new)
    ):
        return []
    courses = courses_of(
        registration=rollout.deployment.registration,
        environment=rollout.deployment.environment,
        digests=[line.digest for line in lines],
        since=rollout.created_at,
        until=rollout.finished_at,
    )
    return [
        ("Executions", "Nothing ran yet.", volume_chart(courses, lines, CHART_HEIGHT_PX)),
        ("Error rate", "No errors so far.", error_chart(courses, lines, CHART_HEIGHT_PX)),
        ("95th percentile", "Nothing ran yet.", latency_chart(courses, lines, CHART_HEIGHT_PX)),
    ]


def _permissions(actor: Actor, deployment: Deployment) -> dict[str, Any]:
    answers = which(actor, (f"deployment.{name}" for name in _STEERING), deployment)
    return {"may": {name.replace("-", "_"): answers[f"deployment.{name}"] for name in _STEERING}}


def _found(visible: QuerySet[Any], identifier: str, kind: str) -> Any:
    try:
        row = visible.filter(pk=identifier).first()
    except (ValueError, ValidationError):
        row = None
    if row is None:
        raise NotFound(f"There is no such {kind}, or you may not see it.")
    return row
