"""Rollouts through the API: the same as on their pages, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.deployments.models import Deployment, RolloutPolicy, RolloutStep
from apps.gateways.commands import register_gateway
from tests.deployments.steps import SYSTEM, last

if TYPE_CHECKING:
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

WAVES = {"strategy": "waves", "steps": [{"share": "1", "approval": True}, {"share": "100 %", "soak_s": 60}]}
DEPLOY: dict[str, Any] = {"agent": "greeter", "environment": "staging", "plan": WAVES}


@pytest.fixture
def path(acme: Inhabited, fleet: Fleet, staging: Environment) -> str:
    """A deployment in two waves; the only gateway does not answer."""
    register_gateway(
        actor=SYSTEM,
        environment=staging,
        name="silent",
        address="http://127.0.0.1:9",
        deploy_token="opens-nothing-at-all",
    )
    fleet.write_agent()
    answer = acme.api("owner").post("/deployments/", DEPLOY)
    assert answer.status_code == 201, answer.json()
    return f"/deployments/{answer.json()['deployment']}"


def test_a_rollout_tells_everything_that_its_page_draws(acme: Inhabited, path: str) -> None:
    rollout = last(Deployment.objects.get())
    shown = acme.api("viewer").get(f"/rollouts/{rollout.pk}/").json()
    assert shown["plan"]["steps"][0] == {"share": "1", "soak_s": 0, "approval": True}
    progress = shown["progress"]
    assert progress["summary"] == "wave 1 of 2: 0 of 1 gateway acknowledged"
    assert [(step["title"], step["state"]) for step in progress["steps"]] == [
        ("wave 1 of 2", "placing"), ("wave 2 of 2", "waiting"),
    ]  # fmt: skip
    assert progress["steps"][0]["gateways"] == [
        {"gateway": "silent", "state": "wanted", "reason": "waits for the first answer of silent",
         "next_attempt_at": progress["steps"][0]["gateways"][0]["next_attempt_at"]},
    ]  # fmt: skip
    assert (progress["old"], progress["new"]["executions"]) == (None, 0)
    listed = acme.api("viewer").get("/rollouts/").json()["results"][0]
    assert "progress" not in listed
    assert listed["strategy"] == "waves"


def test_it_is_steered(acme: Inhabited, path: str) -> None:
    api = acme.api("approver")
    assert api.post(f"{path}/approve/").status_code == 409
    paused = api.post(f"{path}/pause/", {"note": "lunch"})
    assert (paused.status_code, paused.json()["pause_reason"]) == (200, "lunch")
    assert api.get(f"{path}/").json()["status"] == "paused"
    assert api.post(f"{path}/pause/").status_code == 409
    assert api.post(f"{path}/resume/").json()["paused_at"] is None
    forced = api.post(f"{path}/force/").json()["progress"]["steps"]
    assert [(step["state"], step["forced_by"]) for step in forced] == [
        ("done", "approver@acme.example"), ("placing", ""),
    ]  # fmt: skip
    RolloutStep.objects.filter(index=1).update(approval=True, soak_s=0)
    step = RolloutStep.objects.get(index=1)
    step.placed_at = step.started_at
    step.save()
    assert api.post(f"{path}/approve/").json()["state"] == "succeeded"
    assert api.post(f"{path}/force/").status_code == 409


def test_a_repeated_request_with_its_key_forces_one_step(acme: Inhabited, path: str) -> None:
    api = acme.api("approver")
    for _ in range(2):
        assert api.post(f"{path}/force/", key="once").status_code == 200
    assert RolloutStep.objects.filter(forced_at__isnull=False).count() == 1


@pytest.mark.parametrize("act", ["approve", "force"])
def test_whoever_looked_at_another_step_than_the_present_one_is_told_so(acme: Inhabited, path: str, act: str) -> None:
    api = acme.api("approver")
    assert api.post(f"{path}/force/", {"step": 1}).status_code == 200
    RolloutStep.objects.filter(index=1).update(approval=True, soak_s=0, placed_at=timezone.now())

    late = api.post(f"{path}/{act}/", {"step": 1})

    assert late.status_code == 409
    assert "The rollout is at step 2 by now." in late.json()["detail"]
    assert RolloutStep.objects.filter(index=1, forced_at=None, approved_at=None).exists()
    assert api.post(f"{path}/{act}/", {"step": 0}).status_code == 422
    assert api.post(f"{path}/{act}/", {"step": 2}).json()["state"] == "succeeded"


def test_viewers_steer_nothing(acme: Inhabited, path: str) -> None:
    for act in ("approve", "force", "pause", "resume"):
        assert acme.api("viewer").post(f"{path}/{act}/").status_code == 403
    assert acme.api("viewer").post(f"{path}/plan/", {"plan": None}).status_code == 403
    assert acme.api("approver").post("/rollout-policies/", {"environment": "staging", "plan": WAVES}).status_code == 403


def test_plans_of_deployments_and_environments(acme: Inhabited, path: str) -> None:
    api = acme.api("owner")
    assert api.post(f"{path}/plan/", {"plan": {"strategy": "canary"}}).status_code == 200
    stored: Any = Deployment.objects.get().plan
    assert [step["share"] for step in stored["steps"]] == ["1 %", "5 %", "25 %", "100 %"]
    assert api.post(f"{path}/plan/", {"plan": None}).status_code == 200
    assert Deployment.objects.get().plan is None

    made = api.post("/rollout-policies/", {"environment": "staging", "plan": WAVES})
    assert made.status_code == 200, made.json()
    assert made.json()["in_words"] == "waves 1, 100 %; soaks 0 s, 1 min; approved after 1 of 2 steps; not judged"
    assert api.get("/rollout-policies/staging/").json()["plan"]["strategy"] == "waves"
    assert len(api.get("/rollout-policies/").json()["results"]) == 1
    assert RolloutPolicy.objects.get().changed_by == "owner@acme.example"
    assert api.get("/rollout-policies/production/").status_code == 404


@pytest.mark.parametrize(
    "plan",
    [
        {"strategy": "blue-green"},
        {"strategy": "waves", "steps": [{"share": "1"}]},
        {"strategy": "canary", "gate": {"p95": 2}},
        "canary",
        [],
        7,
    ],
)
def test_a_wrong_plan_is_refused_wherever_one_is_taken(acme: Inhabited, path: str, plan: Any) -> None:
    api = acme.api("owner")
    for address, body in (
        ("/deployments/", {**DEPLOY, "plan": plan}),
        (f"{path}/plan/", {"plan": plan}),
        ("/rollout-policies/", {"environment": "staging", "plan": plan}),
    ):
        refused = api.post(address, body)
        assert refused.status_code == 422, address
        assert [error["field"] for error in refused.json()["errors"]] == ["plan"], address
