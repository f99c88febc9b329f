"""Plans written in a form: steps as rows, spans of time as words, and a picture of it before anything happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict

from apps.audit.models import Event
from apps.deployments import commands
from apps.deployments.forms import DeploymentPlanForm, PlanForm, as_initial
from apps.deployments.forms.durations import seconds_of
from apps.deployments.models import Deployment, Rollout, RolloutPolicy
from apps.deployments.pictures import picture_of
from apps.deployments.strategies.plans import (
    ALL_AT_ONCE,
    MINIMUM_MAX,
    RATIO_MAX,
    HealthGate,
    Plan,
    PlannedStep,
    Share,
    default_steps,
)
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment, Gateway
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version
from tests.deployments.test_pages import text_of

if TYPE_CHECKING:
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

GATE = {
    "judged": "on", "error_rate_points": "2.5", "p95_ratio": "", "cost_ratio": "3", "minimum_executions": "50",
    "patience": "1 h 30 min",
}  # fmt: skip
CANARY: dict[str, Any] = {
    "strategy": "canary",
    "weights-share": ["5", "50 %", "100 %"],
    "weights-soak": ["90 s", "", "2 h"],
    "weights-then": ["", "approved", ""],
    **GATE,
}
WAVES: dict[str, Any] = {
    "strategy": "waves",
    "waves-share": ["1", "region=eu 50 %", "", "100 %"],
    "waves-soak": ["5 min", "0", "", ""],
    "waves-then": ["", "", "", ""],
}
HTMX = {"hx-request": "true", "hx-target": "preview"}


def _form(values: dict[str, Any], form: type[PlanForm] = PlanForm) -> PlanForm:
    return form(QueryDict(urlencode(values, doseq=True)))


def _gateways(environment: Environment, *names: str, **labels: str) -> None:
    for port, name in enumerate(names, start=Gateway.objects.count() + 1):
        register_gateway(
            actor=SYSTEM, environment=environment, name=name, address=f"http://127.0.0.1:{port}",
            deploy_token="a-token-of-some-length",
        )  # fmt: skip
    Gateway.objects.filter(name__in=names).update(labels=labels)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("45 s", 45),
        ("5 min", 300),
        ("5m", 300),
        ("1 h 30 min", 5_400),
        ("2 d", 172_800),
        ("1H", 3_600),
    ],
)
def test_a_span_of_time_is_written_with_its_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["5", "min", "-5 min", "5 min later", "5 weeks", "1.5 h", "9" * 50 + " s"])
def test_what_means_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        seconds_of(text)


def test_a_canary_is_written_in_rows() -> None:
    form = _form(CANARY)

    assert form.is_valid(), form.errors
    assert form.cleaned_data["plan"] == Plan(
        "canary",
        (
            PlannedStep(Share(percent=5), 90),
            PlannedStep(Share(percent=50), 0, approval=True),
            PlannedStep(Share(percent=100), 7_200),
        ),
        HealthGate(error_rate_points=2.5, p95_ratio=None, cost_ratio=3.0, minimum_executions=50, patience_s=5_400),
    )


def test_waves_are_written_in_rows_and_empty_rows_do_not_count() -> None:
    form = _form(WAVES)

    assert form.is_valid(), form.errors
    assert form.cleaned_data == {
        "plan": Plan(
            "waves",
            (
                PlannedStep(Share(count=1), 300),
                PlannedStep(Share(percent=50, label=("region", "eu"))),
                PlannedStep(Share(percent=100)),
            ),
        )
    }


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"weights-share": ["5 %", "region=eu", "100 %"]}, "weights", "steps are percentages of the callers"),
        ({"weights-share": ["50", "5", "100"]}, "weights", "each step reaches more"),
        ({"weights-share": ["many", "50", "100"]}, "weights", "Step 1: “many” is no part"),
        ({"weights-share": ["1"] * 21}, "weights", "at most 20 steps"),
        ({"weights-share": []}, "weights", "from 1 to 20 steps"),
        ({"weights-soak": ["soon", "", ""]}, "weights", "Step 1: “soon” is no span of time"),
        ({"weights-soak": ["", "8 d", ""]}, "weights", "Step 2: the longest to watch a step"),
        ({"error_rate_points": "101"}, "error_rate_points", "less than or equal to 100"),
        ({"p95_ratio": "0.5"}, "p95_ratio", "greater than or equal to 1"),
        ({"p95_ratio": "nan"}, "p95_ratio", "Enter a number"),
        ({"patience": "a while"}, "patience", "no span of time"),
        ({"strategy": "yolo"}, "strategy", "Select a valid choice"),
        ({"strategy": ""}, "strategy", "Choose one"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_where_it_stands(change: dict[str, Any], field: str, words: str) -> None:
    form = _form({**CANARY, **change})

    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert words.casefold() in str(form.errors[field]).casefold()
    assert form.plan_errors
    assert form.present_plan is None


def test_the_last_wave_is_everything() -> None:
    form = _form({**WAVES, "waves-share": ["1", "25 %"]})

    assert "end with 100 %" in str(form.errors["waves"])


@pytest.mark.parametrize(
    "plan",
    [
        ALL_AT_ONCE,
        Plan("all-at-once", (PlannedStep(Share(percent=100), 60),), HealthGate()),
        Plan("canary", default_steps("canary"), HealthGate(p95_ratio=None, minimum_executions=3)),
        Plan("waves", (PlannedStep(Share.parse("region=eu"), 61, approval=True), PlannedStep(Share(percent=100)))),
    ],
    ids=lambda plan: plan.in_words,
)
def test_a_plan_survives_the_form(plan: Plan) -> None:
    shown = PlanForm(initial=as_initial(plan))
    assert shown.present_plan == plan

    submitted = {"strategy": plan.strategy, **_as_submitted(shown)}
    assert _form(submitted).present_plan == plan


def _as_submitted(form: PlanForm) -> dict[str, Any]:
    """What a browser sends of the form as it is shown."""
    values: dict[str, Any] = {}
    for name in ("waves", "weights"):
        rows = form.fields[name].widget.get_context(name, form[name].value(), {})["widget"]["rows"]
        values[f"{name}-share"] = [row.share for row in rows]
        values[f"{name}-soak"] = [row.soak for row in rows]
        values[f"{name}-then"] = ["approved" if row.approval else "" for row in rows]
    for name in ("soak", "error_rate_points", "p95_ratio", "cost_ratio", "minimum_executions", "patience"):
        value = form[name].value()
        values[name] = "" if value is None else value
    return {**values, **({"judged": "on"} if form["judged"].value() else {})}


def test_to_have_no_plan_of_ones_own_is_a_choice_where_something_is_inherited() -> None:
    form = _form({"strategy": ""}, DeploymentPlanForm)

    assert form.is_valid()
    assert form.cleaned_data == {"plan": None}


def test_what_belongs_to_another_choice_is_passed_over() -> None:
    nonsense = {"waves-share": ["nonsense"], "soak": "nonsense"}
    assert _form({**CANARY, **nonsense}).is_valid()
    assert _form({**WAVES, "weights-share": ["nonsense"], "patience": "nonsense"}).is_valid()
    assert not _form({**WAVES, "judged": "on", "patience": "nonsense"}).is_valid()
    assert _form({**nonsense, "strategy": ""}, DeploymentPlanForm).is_valid()


def test_a_picture_shows_whom_each_wave_reaches(acme: Inhabited, staging: Environment) -> None:
    _gateways(staging, "eu-1", "eu-2", region="eu")
    _gateways(staging, "us-1", "us-2")
    plan = Plan(
        "waves",
        (
            PlannedStep(Share(count=1), 60, approval=True),
            PlannedStep(Share.parse("region=eu")),
            PlannedStep(Share(percent=100)),
        ),
    )

    drawn = picture_of(plan, staging)

    assert [[gateway.name for gateway in step.gateways] for step in drawn.steps] == [
        ["eu-1"],
        ["eu-2"],
        ["us-1", "us-2"],
    ]
    assert [step.percent for step in drawn.steps] == [25, 50, 100]
    assert [step.then for step in drawn.steps] == ["watched for 1 min, then waits for approval", "", ""]
    assert drawn.gateways == 4


def test_a_first_canary_is_drawn_as_what_it_will_be(acme: Inhabited, staging: Environment) -> None:
    _gateways(staging, "eu-1")
    canary = Plan("canary", default_steps("canary"))

    assert [step.percent for step in picture_of(canary, staging).steps] == [1, 5, 25, 100]
    assert [step.title for step in picture_of(canary, staging, first=True).steps] == ["All gateways"]


def test_the_policy_of_an_environment_is_edited_and_shown(acme: Inhabited, staging: Environment) -> None:
    _gateways(staging, "eu-1", "eu-2")
    client = acme.client("admin")
    assert "All at once; not judged. Nobody has said otherwise yet." in text_of(client.get("/environments/staging/"))

    preview = client.get("/environments/staging/rollout-policy/", CANARY, headers=HTMX)
    assert "<html" not in preview.content.decode()
    assert "5 % of the callers on 2 gateways watched for 1 min 30 s" in text_of(preview)
    assert not RolloutPolicy.objects.exists(), "looking changes nothing"

    answer = client.post("/environments/staging/rollout-policy/", CANARY)
    assert (answer.status_code, answer["Location"]) == (302, "/environments/staging/")
    policy = RolloutPolicy.objects.get(environment=staging)
    assert Plan.from_json(policy.plan).strategy == "canary"
    shown = text_of(client.get("/environments/staging/"))
    assert "Canary 5 %, 50 %, 100 %" in shown
    assert "Set by admin@acme.example" in shown
    again = client.get("/environments/staging/rollout-policy/").content.decode()
    assert 'value="1 min 30 s"' in again
    assert Event.objects.filter(action="environment.set-rollout-policy").count() == 1

    wrong = client.post("/environments/staging/rollout-policy/", {**WAVES, "waves-share": ["1"]})
    assert wrong.status_code == 422
    assert "end with 100 %" in text_of(wrong)


def test_who_may_not_change_a_policy_is_told_so(acme: Inhabited, staging: Environment) -> None:
    for role in ("viewer", "builder"):
        client = acme.client(role)
        assert client.get("/environments/staging/rollout-policy/").status_code == 403
        assert client.post("/environments/staging/rollout-policy/", CANARY).status_code == 403
        assert "Edit policy" not in text_of(client.get("/environments/staging/"))


def test_a_deployment_has_a_plan_of_its_own_or_none(acme: Inhabited, fleet: Fleet, staging: Environment) -> None:
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    client = acme.client("owner")
    assert "all at once; not judged as Staging does it Change" in text_of(client.get(deployment.get_absolute_url()))

    assert client.post(f"/deployments/{deployment.pk}/plan/", CANARY).status_code == 302
    own = fresh(deployment).plan
    assert own is not None
    assert Plan.from_json(own).in_words in text_of(client.get(deployment.get_absolute_url()))

    assert client.post(f"/deployments/{deployment.pk}/plan/", {"strategy": ""}).status_code == 302
    assert fresh(deployment).plan is None


def test_a_deploy_goes_the_way_that_was_chosen_for_it(acme: Inhabited, fleet: Fleet, staging: Environment) -> None:
    _gateways(staging, "eu-1", "eu-2")
    commands.set_rollout_policy(actor=SYSTEM, environment=staging, plan=Plan("canary", default_steps("canary")))
    agent, version = fleet.write_agent()
    deploy(SYSTEM, staging, version)
    second = next_version(agent, "You greet people coolly.")
    client = acme.client("owner")
    chosen = {"version": str(second.pk), "environment": str(staging.pk)}

    shown = text_of(client.get("/agents/greeter/deploy/staging/"))
    assert "As Staging does it: canary 1 %, 5 %, 25 %, 100 %" in shown
    preview = text_of(client.get("/agents/greeter/deploy/", {**chosen, **WAVES}, headers=HTMX))
    assert "Wave 1 1 gateway: 1 more eu-1 watched for 5 min" in preview
    wrong = client.get("/agents/greeter/deploy/", {**chosen, **WAVES, "waves-share": ["x"]}, headers=HTMX)
    assert "Step 1: “x” is no part of a fleet" in text_of(wrong)
    assert "disabled" in wrong.content.decode()

    nobody = client.post("/agents/greeter/deploy/", {**chosen, **WAVES})
    assert nobody.status_code == 422
    assert "Add a step No gateway of staging has the label region=eu." in text_of(nobody), "at the field"
    Gateway.objects.update(labels={"region": "eu"})
    answer = client.post("/agents/greeter/deploy/", {**chosen, **WAVES})
    assert answer.status_code == 302, text_of(answer)
    rollout = Rollout.objects.get(generation=2)
    assert rollout.strategy == "waves"
    assert [step.share for step in rollout.steps.order_by("index")] == ["1", "region=eu 50 %", "100 %"]
    assert Deployment.objects.get().plan is None, "a single deploy changes no plan"


@pytest.mark.parametrize(
    ("name", "most"), [("p95_ratio", RATIO_MAX), ("cost_ratio", RATIO_MAX), ("minimum_executions", MINIMUM_MAX)]
)
def test_a_form_takes_no_gate_that_cannot_be_read_again(name: str, most: float) -> None:
    """A plan lies in rows that are read for every deploy: one that could not be would stop them all."""
    fits = _form({**CANARY, name: str(int(most))})
    assert fits.is_valid(), fits.errors
    plan = fits.cleaned_data["plan"]
    assert Plan.from_json(plan.to_json()) == plan
    beyond = _form({**CANARY, name: str(int(most) + 1)})
    assert not beyond.is_valid()
    assert "less than or equal to" in str(beyond.errors[name])
