"""The live chart of executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template.loader import render_to_string

from apps.core.commands import may
from apps.core.errors import Denied
from apps.core.live import fragment
from apps.core.ports import ports
from apps.gateways.models import Environment
from apps.telemetry.charts import durations_chart, executions_chart
from apps.telemetry.queries import Figures, activity
from apps.telemetry.subjects import Subject
from apps.telemetry.words import NOTHING, count_words, duration_words, error_words

if TYPE_CHECKING:
    from apps.core.actors import Actor

HINT = "execution"


@fragment("activity", listens_to=(HINT,))
def render_activity(actor: Actor, subject: str) -> str:
    """The inner HTML of a chart of executions."""
    return render_to_string("telemetry/activity.html", activity_context(actor, Subject.parse(subject)))


def activity_context(actor: Actor, subject: Subject) -> dict[str, Any]:
    """What the chart's template needs.

    Raises:
        Denied: the actor may see no executions at all.
    """
    require_executions(actor)
    shown = activity(actor, subject.window, where=subject.where)
    return {
        "subject": subject,
        "figures": _headline(shown.total),
        "executions": executions_chart(shown),
        "durations": durations_chart(shown),
    }


def _headline(figures: Figures) -> list[tuple[str, str, str]]:
    """Label, figure and what stands below it."""
    share = figures.error_share
    return [
        ("Executions", count_words(figures.executions), error_words(figures)),
        ("Error rate", NOTHING if share is None else f"{share:.1%}", "failed or timed out"),
        ("95th percentile", duration_words(figures.p95_ms), f"median {duration_words(figures.p50_ms)}"),
        ("Tokens", count_words(figures.tokens), f"{count_words(figures.output_tokens)} written"),
    ]


def require_executions(actor: Actor) -> None:
    """Refuse those who may see executions nowhere: to them an empty chart would say that nothing runs.

    Raises:
        Denied: neither a role nor a grant on an environment shows them executions.
    """
    decision = may(actor, "execution.view")
    if not decision.allowed and not ports.visible(Environment.objects.all(), actor, "execution.view").exists():
        raise Denied(decision)
