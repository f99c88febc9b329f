"""Forms of the pages that change what runs where, and how changes get there."""

from apps.deployments.forms.changes import DeployForm, NoteForm, RollbackForm, StepForm
from apps.deployments.forms.plans import DeploymentPlanForm, PlanForm, as_initial

__all__ = ["DeployForm", "DeploymentPlanForm", "NoteForm", "PlanForm", "RollbackForm", "StepForm", "as_initial"]
