"""A rollout as its page draws it, in every state, and the buttons that steer it.

Gateways are rows here, and confirm when a test says so: what real ones do is told in `test_canary` and `test_waves`.
"""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import F
from django.utils import timezone

from apps.core.errors import NotFound
from apps.core.live import fragments
from apps.deployments import commands, rollouts
from apps.deployments.live import deployment_progress, rollout_progress
from apps.deployments.models import Deployment, Rollout, RolloutStep
from apps.deployments.scorecards import scorecard
from apps.deployments.strategies.plans import ALL_AT_ONCE, HealthGate, Plan, PlannedStep, Share
from apps.gateways.commands import register_gateway
from apps.gateways.models import Gateway, Placement
from apps.telemetry.comparison import ReleaseFigures
from apps.telemetry.courses import courses_of
from apps.telemetry.models import Execution
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version, release_of
from tests.deployments.test_pages import text_of
from tests.harness.queries import reads

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

GATE = HealthGate(minimum_executions=4)
CANARY = Plan("canary", (PlannedStep(Share(percent=5), 300, approval=True), PlannedStep(Share(percent=100), 60)), GATE)
WAVES = Plan("waves", (PlannedStep(Share(count=1), 300), PlannedStep(Share(percent=100))))
_numbers = itertools.count(1)


@pytest.fixture
def versions(acme: Inhabited, fleet: Fleet, staging: Environment) -> tuple[AgentVersion, AgentVersion]:
    """Two versions; the first runs on three gateways in staging."""
    for port, name in enumerate(("eu-1", "eu-2", "us-1"), start=1):
        register_gateway(
            actor=SYSTEM, environment=staging, name=name, address=f"http://127.0.0.1:{port}",
            deploy_token="a-token-of-some-length",
        )  # fmt: skip
    Gateway.objects.update(
        status="healthy", status_reason="answers", gateway_id=F("name"), public_key="a-key", last_seen_at=timezone.now()
    )
    agent, first = fleet.write_agent()
    deploy(SYSTEM, staging, first)
    confirm()
    return first, next_version(agent, "You greet people coolly.")


def confirm(*names: str) -> None:
    """Let gateways, all unless named, have what is wanted of them; and rollouts go on until nothing changes."""
    for _ in range(4):
        rows = Placement.objects.filter(gateway__name__in=names) if names else Placement.objects.all()
        rows.update(observed_generation=F("desired_generation"), observed_digest=F("desired_digest"))
        rollouts.advance_all()


def later(seconds: int) -> None:
    """Let the present step have begun so much earlier, and its gate look anew."""
    step = RolloutStep.objects.filter(rollout__state="progressing", finished_at=None, started_at__isnull=False)
    earlier = {name: F(name) - timedelta(seconds=seconds) for name in ("started_at", "placed_at", "watched_since")}
    step.update(**earlier, judged_at=None)
    rollouts.advance_all()


def ran(version: AgentVersion, count: int, *, failed: int = 0) -> None:
    """Let a version have answered in staging, just now."""
    gateway = Gateway.objects.select_related("environment")[0]
    Execution.objects.bulk_create(
        Execution(
            gateway=gateway, gateway_name=gateway.name, environment=gateway.environment, epoch="e",
            seq=(number := next(_numbers)), execution_id=f"x{number}", registration="greeter-staging",
            agent_slug="greeter", release_digest=release_of(version).digest, key_id="abcdefgh01", channel="api",
            started_at=timezone.now() - timedelta(milliseconds=10), duration_ms=200,
            status="failed" if index < failed else "succeeded", input_tokens=10, output_tokens=5,
        )
        for index in range(count)
    )  # fmt: skip
    RolloutStep.objects.filter(finished_at=None).update(judged_at=None)
    rollouts.advance_all()


def begun(staging: Environment, version: AgentVersion, plan: Plan, **options: Any) -> Deployment:
    rollout = commands.deploy(actor=SYSTEM, environment=staging, version=version, plan=plan, **options)
    return fresh(rollout.deployment)


def drawn(acme: Inhabited, deployment: Deployment, role: str = "owner") -> str:
    """The live region, as text."""
    return text_of(deployment_progress(acme.actor(role), str(deployment.pk)))


def steps_in(html: str) -> list[str]:
    return re.findall(r'class="track-step" data-state="([a-z-]+)"', html)


def test_a_canary_is_drawn_with_its_weight_its_gateways_and_both_releases(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], CANARY)
    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    assert steps_in(html) == ["placing", "waiting", "waiting"]
    assert "0 of 3 gateways confirmed" in text_of(html)

    confirm("eu-1")
    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    assert "1 of 3 gateways confirmed" in text_of(html)
    chips = re.findall(r'class="dot-chip" data-state="(\w+)" id="[^"]+"><a[^>]*><span>([\w-]+)', html)
    assert {name: state for state, name in chips}["eu-1"] == "confirmed"
    assert {state for state, _ in chips} == {"confirmed", "wanted"}

    confirm()
    ran(versions[0], 6)
    ran(versions[1], 3, failed=1)
    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    assert steps_in(html) == ["soaking", "waiting", "waiting"]
    assert "data-countdown" in html
    shown = text_of(html)
    assert "5 % of the callers: version 2 the others: version 1" in shown
    assert "judged on 3 of 4 executions" in shown
    assert "Executions 6 3 4 to judge Error rate 0.0% 33.3% (worse) 5 points more" in shown
    assert "then waits for approval" not in shown, "the present step says what it waits for now"
    for button in ("Pause", "Go on now", "Roll back", "Cancel"):
        assert button in shown
    assert "Approve" not in shown, "it does not wait for that yet"


def test_a_step_that_waits_for_a_person_can_be_approved(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], CANARY)
    confirm()
    ran(versions[0], 6)
    ran(versions[1], 5)
    client = acme.client("owner")
    early = client.post(f"/deployments/{deployment.pk}/approve/", follow=True)
    assert "does not wait for approval yet" in text_of(early)
    later(600)
    assert "waiting for approval" in drawn(acme, deployment)
    assert "Approve" in drawn(acme, deployment)
    assert "Let the rollout of Greeter in staging go on?" in text_of(
        client.get(f"/deployments/{deployment.pk}/approve/")
    )

    answer = client.post(f"/deployments/{deployment.pk}/approve/", follow=True)

    assert "Approved: the rollout goes on." in text_of(answer)
    confirm()
    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    assert steps_in(html) == ["done", "soaking", "waiting"]
    assert "approved by owner@acme.example" in text_of(html)
    assert "100 % of the callers: version 2" in text_of(html)


def test_a_rollout_is_paused_resumed_and_forced_from_its_page(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], WAVES)
    confirm()
    client = acme.client("approver")
    assert client.post(f"/deployments/{deployment.pk}/pause/", {"note": "lunch"}).status_code == 302
    html = deployment_progress(acme.actor("approver"), str(deployment.pk))
    assert "paused by approver@acme.example: lunch" in text_of(html)
    assert "Resume" in text_of(html)
    assert "Pause" not in text_of(html)
    assert steps_in(html)[0] == "paused"

    assert client.post(f"/deployments/{deployment.pk}/resume/").status_code == 302
    assert steps_in(deployment_progress(acme.actor("approver"), str(deployment.pk)))[0] == "soaking"
    assert client.post(f"/deployments/{deployment.pk}/force/").status_code == 302
    confirm()
    rollout = deployment.rollouts.get(generation=2)
    assert rollout.state == "succeeded"
    html = deployment_progress(acme.actor("approver"), str(deployment.pk))
    assert steps_in(html) == ["done", "done"]
    assert "forced by approver@acme.example" in text_of(html)
    assert "Go on now" not in text_of(html)


def test_whatever_changes_a_rollout_redraws_it_on_its_own_page_and_on_its_deployments(acme: Inhabited) -> None:
    assert set(fragments["rollout"].listens_to) >= {"rollout", "placement", "gateway", "execution", "stop"}
    assert set(fragments["deployment"].listens_to) >= set(fragments["rollout"].listens_to)


def test_two_who_go_on_at_the_same_moment_skip_one_step(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], WAVES)
    html = deployment_progress(acme.actor("approver"), str(deployment.pk))
    pages = [acme.client(role) for role in ("approver", "owner")]
    address = f"/deployments/{deployment.pk}/force/?step=1"
    assert f'href="{address}"' in html
    for page in pages:
        assert '<input type="hidden" name="step" value="1"' in page.get(address).content.decode()

    first, second = (page.post(address, {"step": 1}, follow=True) for page in pages)

    assert "The rollout goes on." in text_of(first)
    assert "The rollout is at step 2 by now." in text_of(second)
    assert [step.forced_by for step in deployment.rollouts.get(generation=2).steps.order_by("index")] == [
        "approver@acme.example", "",
    ]  # fmt: skip


def test_a_gateway_that_fails_is_named_with_its_reason(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], WAVES)
    Placement.objects.filter(gateway__name="eu-1", name="greeter-staging").update(
        attempts=3, conditions=[{"type": "Synced", "reason": "unreachable", "message": "connection refused",
                                 "since": timezone.now().isoformat()}],
    )  # fmt: skip
    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    assert 'data-state="failing"' in html
    assert "eu-1: " in text_of(html[html.index("track-failing") :])
    assert "Try again now" in text_of(html)


def test_of_many_gateways_those_that_somebody_should_look_at_come_first(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    owner = acme.actor("owner")
    for number in range(20):
        register_gateway(
            actor=owner, environment=staging, name=f"many-{number:02}", address=f"http://127.0.0.1:{100 + number}",
            deploy_token="a-token-of-some-length",
        )  # fmt: skip
    Gateway.objects.update(status="healthy")
    Gateway.objects.filter(name="many-19").update(status="unreachable")
    deployment = begun(staging, versions[1], ALL_AT_ONCE)
    confirm()

    html = deployment_progress(owner, str(deployment.pk))
    in_sight, folded = html.split("<details", 1)
    assert in_sight.index("many-19") < in_sight.index("many-00"), "it does not answer"
    assert "11 more gateways, healthy and as wanted" in folded
    assert folded.count("<tr>") == 11
    Placement.objects.update(observed_digest="")
    assert "<details" not in deployment_progress(owner, str(deployment.pk)), "every one of them is news"


def test_a_degraded_rollout_stays_in_sight_with_its_numbers_and_the_hold(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], CANARY)
    confirm()
    ran(versions[0], 10)
    ran(versions[1], 8, failed=4)
    confirm()

    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    shown = text_of(html)
    assert steps_in(html) == ["degraded", "abandoned", "abandoned"]
    assert "Held by studio" in shown
    assert "error rate 50.0 % against 0.0 % (4 of 8 executions failed)" in shown
    assert "degraded error rate 50.0 %" in " ".join(shown.split()), "the badge has said the word"
    assert "Release hold" in shown
    assert "Release hold" not in drawn(acme, deployment, "viewer")
    assert "running version 1 on 3 gateways" in shown

    client = acme.client("owner")
    assert "is no longer held" in text_of(client.post(f"/deployments/{deployment.pk}/release-hold/", follow=True))
    assert "Held by" not in drawn(acme, deployment)


def test_every_rollout_keeps_a_page_with_its_decisions(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], WAVES, note="cooler")
    confirm()
    commands.force(actor=acme.actor("admin"), deployment=deployment)
    confirm()
    client = acme.client("viewer")
    history = client.get(f"/deployments/{deployment.pk}/", {"tab": "history"})
    assert f'href="/deployments/{deployment.pk}/rollouts/2/"' in history.content.decode()

    shown = text_of(client.get(f"/deployments/{deployment.pk}/rollouts/2/"))

    assert "Deploy version 2 over version 1" in shown
    assert "“cooler”" in shown
    assert "Step 1: wave 1 forced by admin@acme.example" in shown
    assert "Waves 1, 100 %; soaks 5 min, 0 s; not judged" in shown
    assert client.get(f"/deployments/{deployment.pk}/rollouts/3/").status_code == 404


def test_rolling_back_is_one_question_away_in_any_step(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], CANARY)
    client = acme.client("owner")
    sheet = client.get(
        f"/deployments/{deployment.pk}/rollback/", headers={"hx-request": "true", "hx-target": "sheet-body"}
    )
    assert "<html" not in sheet.content.decode()
    assert "Version 1" in text_of(sheet)
    answer = client.post(f"/deployments/{deployment.pk}/rollback/", {"to": str(release_of(versions[0]).pk)})
    assert answer.status_code == 302
    confirm()
    assert fresh(deployment).release == release_of(versions[0])
    assert fresh(deployment).held
    assert not Placement.objects.filter(kind="route").exclude(desired_digest=F("observed_digest")).exists()


@pytest.mark.parametrize("act", ["approve", "force", "pause", "resume", "plan"])
def test_who_may_not_steer_is_told_so_and_sees_no_button(
    acme: Inhabited, globex: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion], act: str
) -> None:
    deployment = begun(staging, versions[1], WAVES)
    for role in ("viewer", "builder"):
        client = acme.client(role)
        assert client.get(f"/deployments/{deployment.pk}/{act}/").status_code == 403
        assert client.post(f"/deployments/{deployment.pk}/{act}/", {"strategy": "all-at-once"}).status_code == 403
    with globex.inside():
        assert globex.client("owner").get(f"/deployments/{deployment.pk}/{act}/").status_code == 404
    shown = drawn(acme, deployment, "viewer")
    assert not any(label in shown for label in ("Pause", "Go on now", "Roll back", "Cancel"))


def test_the_live_region_of_a_rollout_is_refused_to_strangers(
    acme: Inhabited, globex: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], WAVES)
    rollout = deployment.rollouts.get(generation=2)
    assert "Wave 1 of 2".casefold() in text_of(rollout_progress(acme.actor("viewer"), str(rollout.pk))).casefold()
    for actor, identifier in (
        (globex.actor("owner"), str(rollout.pk)),
        (acme.actor("owner"), "nothing"),
        (acme.actor("owner"), str(deployment.pk)),
    ):
        with pytest.raises(NotFound):
            rollout_progress(actor, identifier)


def test_a_page_costs_the_same_however_many_gateways_and_rollouts_there_are(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = begun(staging, versions[1], CANARY)
    confirm()
    ran(versions[0], 5)
    client = acme.client("owner")
    pages = (
        f"/deployments/{deployment.pk}/",
        f"/deployments/{deployment.pk}/rollouts/2/",
        "/agents/greeter/deploy/staging/",
    )

    def costs() -> list[int]:
        return [len(reads(partial(client.get, page))) for page in pages]

    costs()  # what is cached for a while
    few = costs()
    for port in range(10, 22):
        register_gateway(
            actor=SYSTEM, environment=staging, name=f"more-{port}", address=f"http://127.0.0.1:{port}",
            deploy_token="a-token-of-some-length",
        )  # fmt: skip
    ran(versions[1], 3)

    assert costs() == few
    assert [cost <= most for cost, most in zip(few, (34, 18, 26), strict=True)] == [True, True, True], few


def test_a_scorecard_marks_what_exceeds_its_limit_alone() -> None:
    old = ReleaseFigures(executions=100, errors=1, p50_ms=90, p95_ms=200, input_tokens=1_000, output_tokens=1_000)
    new = ReleaseFigures(executions=10, errors=0, p50_ms=90, p95_ms=401, input_tokens=100, output_tokens=100)

    lines = {line.label: line for line in scorecard(old, new, GATE)}

    assert [label for label, line in lines.items() if line.worse] == ["95th percentile"]
    assert (lines["95th percentile"].old, lines["95th percentile"].new) == ("200 ms", "401 ms")
    assert lines["Tokens of an execution"].hint, "why it is not compared"
    assert not any(line.worse or line.limit for line in scorecard(old, new, None))
    assert [line.old for line in scorecard(None, new, GATE)] == ["–"] * 4  # noqa: RUF001
    assert scorecard(old, None, GATE) == []


def test_courses_put_executions_into_steps_of_time(
    acme: Inhabited, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    begun(staging, versions[1], CANARY)
    ran(versions[0], 3, failed=1)
    ran(versions[1], 2)
    old, new = (release_of(version).digest for version in versions)
    now = timezone.now()

    courses = courses_of(
        registration="greeter-staging",
        environment=staging,
        digests=[old, new],
        since=now - timedelta(hours=2),
        until=now,
    )

    assert courses.step == timedelta(minutes=5)
    assert len(courses.starts) == len(courses.by_digest[old]) == 25
    assert sum(moment.executions for moment in courses.by_digest[old]) == 3
    assert max(moment.errors for moment in courses.by_digest[old]) == 1
    assert [moment.p95_ms for moment in courses.by_digest[new] if moment.executions] == [200]
    short = courses_of(registration="greeter-staging", environment=staging, digests=[new], since=now, until=now)
    assert len(short.starts) == 13, "a single point would be no course"
    assert Rollout.objects.count() == 2
