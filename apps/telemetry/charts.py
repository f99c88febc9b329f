"""Figures over time in the shape that `{% chart %}` draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.telemetry.models import Status

if TYPE_CHECKING:
    from apps.telemetry.queries import Activity

_ALWAYS_SHOWN = (Status.SUCCEEDED, Status.FAILED)
_COLOURS = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.TIMED_OUT: "orange",
    Status.CANCELLED: "gray",
}


def executions_chart(activity: Activity) -> dict[str, Any]:
    """Executions by how they ended, as stacked bars."""
    sums = activity.total.by_status
    shown = [status for status in Status if status in _ALWAYS_SHOWN or sums.get(status)]
    return {
        "times": _times(activity),
        "stacked": True,
        "unit": "",
        "series": [
            {
                "label": str(status.label),
                "color": _COLOURS[status],
                "kind": "bars",
                "total": sums.get(status, 0),
                "values": [step.by_status.get(status, 0) for step in activity.steps],
            }
            for status in shown
        ],
    }


def durations_chart(activity: Activity) -> dict[str, Any]:
    """The median and the 95th percentile of the duration, as lines with gaps where nothing ran."""
    return {
        "times": _times(activity),
        "stacked": False,
        "unit": "ms",
        "series": [
            {"label": "median", "color": "blue", "values": [_rounded(step.p50_ms) for step in activity.steps]},
            {"label": "p95", "color": "purple", "values": [_rounded(step.p95_ms) for step in activity.steps]},
        ],
    }


def _times(activity: Activity) -> list[int]:
    return [int(start.timestamp()) for start in activity.starts]


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
