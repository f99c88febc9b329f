"""Stops on pages and in the API: what they show, who may, and what a receipt is worth without Studio."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from apps.agents.commands import create, publish
from apps.agents.definitions import Definition
from apps.core.live import fragments
from apps.deployments import commands
from apps.deployments.models import Deployment, Stop
from apps.deployments.queries import status_of, with_adjective
from apps.deployments.releases import release_of
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment
from tests.deployments.steps import SYSTEM, deploy

if TYPE_CHECKING:
    from apps.agents.models import Agent
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited


@pytest.fixture
def agent(acme: Inhabited) -> Agent:
    """An agent of the builder, with a version."""
    definition = Definition(name="Greeter", instructions="Greet people.")
    made = create(actor=acme.actor("builder"), slug="greeter", definition=definition)
    publish(actor=SYSTEM, agent=made)
    return made


@pytest.fixture
def deployed(acme: Inhabited, agent: Agent, staging: Environment) -> Deployment:
    """The agent in staging, where one gateway is registered that never answers."""
    register_gateway(
        actor=SYSTEM,
        environment=staging,
        name="silent",
        address="http://127.0.0.1:9",
        deploy_token="a-token-of-ours-16",
    )
    return deploy(SYSTEM, staging, agent.versions.get())


def text(answer: Any) -> str:
    """What a person reads of a page."""
    assert answer.status_code == 200, answer.status_code
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


class TestFromEachPage:
    @pytest.mark.parametrize(
        ("page", "button"),
        [
            ("/agents/greeter/", "/agents/greeter/stop/"),
            ("/agents/greeter/versions/1/", "/agents/greeter/versions/1/stop/"),
            ("/deployments/{deployment}/", "/agents/greeter/stop/staging/"),
            ("/members/", "/members/{builder}/stop/"),
            ("/stops/", "/stops/new/"),
        ],
    )
    def test_it_is_one_button_a_reason_and_a_confirmation(
        self, acme: Inhabited, deployed: Deployment, page: str, button: str
    ) -> None:
        names = {"deployment": deployed.pk, "builder": acme.users["builder"].pk}
        page, button = page.format(**names), button.format(**names)
        client = acme.client("approver")
        assert f'"{button}"' in client.get(page).content.decode()
        form = client.get(button)
        assert "Stop now" in text(form)
        refused = client.post(button, {"reason": "", "agent": str(deployed.agent_id)})
        assert refused.status_code == 422
        assert not Stop.objects.exists()

        answer = client.post(button, {"reason": "It insults people.", "agent": str(deployed.agent_id)})

        stop = Stop.objects.get()
        assert (answer.status_code, answer["location"]) == (302, f"/stops/{stop.public_id}/")
        assert (stop.reason, stop.started_by) == ("It insults people.", "approver@acme.example")
        assert "is being stopped" in text(client.get(answer["location"]))

    @pytest.mark.parametrize("role", ["builder", "viewer"])
    def test_whoever_may_not_sees_no_button_and_is_refused(self, acme: Inhabited, agent: Agent, role: str) -> None:
        client = acme.client(role)
        assert "/agents/greeter/stop/" not in client.get("/agents/greeter/").content.decode()
        assert client.get("/agents/greeter/stop/").status_code == 403
        assert client.post("/agents/greeter/stop/", {"reason": "x"}).status_code == 403
        answer = acme.api(role).post("/stops/", {"agent": "greeter", "reason": "x"})
        assert answer.status_code == 403
        assert not Stop.objects.exists()
        commands.stop_agent(actor=SYSTEM, agent=agent, reason="it insults people")
        assert client.get(f"/stops/{Stop.objects.get().public_id}/").status_code == 200
        assert client.post(f"/stops/{Stop.objects.get().public_id}/lift/", {"reason": "x"}).status_code == 403


class TestWhatIsShown:
    def test_the_page_counts_and_names_whoever_did_not_confirm(self, acme: Inhabited, deployed: Deployment) -> None:
        stop = commands.stop_agent(actor=SYSTEM, agent=deployed.agent, reason="it insults people")
        page = acme.client("viewer").get(f"/stops/{stop.public_id}/")
        shown = text(page)
        assert "0 of 1 gateway confirmed; silent: waits for the first answer of silent" in shown
        assert "One gateway has not confirmed, and may still answer callers: silent ." in shown
        assert "data-stopwatch=" in page.content.decode()
        live = fragments["stop"].render(acme.actor("viewer"), str(stop.pk))
        assert "waits for the first answer of silent" in live

    def test_the_deployment_is_stopped_with_the_reason(self, acme: Inhabited, deployed: Deployment) -> None:
        stop = commands.stop_agent(
            actor=acme.actor("owner"),
            agent=deployed.agent,
            environment=deployed.environment,
            reason="it insults people",
        )
        deployment = Deployment.objects.get(pk=deployed.pk)
        status = status_of(deployment)
        assert status.adjective == "stopped"
        assert re.fullmatch(r"stopped by owner@acme.example at .* UTC: it insults people", status.reason)
        assert with_adjective(Deployment.objects.all()).get().adjective == "stopped"  # type: ignore[attr-defined]
        for page in (f"/deployments/{deployed.pk}/", "/agents/greeter/"):
            assert "Stopped in staging" in text(acme.client("viewer").get(page))
        assert "Greeter in staging" in text(acme.client("viewer").get("/"))
        commands.lift_stop(actor=SYSTEM, stop=stop, reason="repaired")
        assert status_of(deployment).adjective != "stopped"
        assert with_adjective(Deployment.objects.all()).get().adjective != "stopped"  # type: ignore[attr-defined]

    def test_a_release_and_an_author_stop_it_as_well(self, acme: Inhabited, deployed: Deployment) -> None:
        version, builder = deployed.agent.versions.get(), acme.users["builder"]

        def of_release() -> Stop:
            return commands.stop_release(actor=SYSTEM, release=release_of(version), reason="it leaks")

        def of_author() -> Stop:
            return commands.stop_author(actor=SYSTEM, author=builder, reason="their laptop was stolen")

        for begin in (of_release, of_author):
            stopped = begin()
            assert status_of(Deployment.objects.get()).adjective == "stopped"
            assert with_adjective(Deployment.objects.all()).get().adjective == "stopped"  # type: ignore[attr-defined]
            assert acme.client("viewer").get(stopped.get_absolute_url()).status_code == 200
            commands.lift_stop(actor=SYSTEM, stop=stopped, reason="repaired")

    def test_lifting_asks_why_and_says_who(self, acme: Inhabited, deployed: Deployment) -> None:
        stop = commands.stop_agent(actor=SYSTEM, agent=deployed.agent, reason="it insults people")
        client = acme.client("admin")
        assert client.post(f"/stops/{stop.public_id}/lift/", {"reason": " "}).status_code == 422
        assert client.post(f"/stops/{stop.public_id}/lift/", {"reason": "repaired"}).status_code == 302
        shown = text(client.get(f"/stops/{stop.public_id}/"))
        assert "by admin@acme.example : repaired" in shown or "by admin@acme.example: repaired" in shown
        assert "Greeter" in text(client.get("/stops/?live=no"))
        assert "it insults people" not in text(client.get("/stops/?live=yes"))


class TestTheApi:
    def test_it_stops_shows_and_lifts(self, acme: Inhabited, deployed: Deployment) -> None:
        api = acme.api("approver")
        body = {"agent": "greeter", "environment": "staging", "reason": "it insults people"}
        first = api.post("/stops/", body, key="once")
        assert first.status_code == 201, first.content
        assert api.post("/stops/", body, key="once").json()["id"] == first.json()["id"]
        made = first.json()
        assert (made["subject"], made["of"], made["agent"], made["environment"]) == (
            "agent", "Greeter", "greeter", "staging",
        )  # fmt: skip
        assert (made["status"], made["agents"]) == ("stopping", ["greeter"])
        (stand,) = made["gateways"]
        assert (stand["gateway"], stand["confirmed"], stand["receipt"]) == ("silent", False, None)
        assert api.post("/stops/", body).status_code == 409
        assert len(api.get("/stops/", live="true", agent="greeter").json()["results"]) == 1
        assert api.post(f"/stops/{made['id']}/retry/").status_code == 200
        assert api.post(f"/stops/{made['id']}/lift/", {}).status_code == 422
        lifted = api.post(f"/stops/{made['id']}/lift/", {"reason": "repaired"})
        assert lifted.status_code == 200
        assert lifted.json()["lift_reason"] == "repaired"
        assert api.get("/stops/", live="true").json()["results"] == []
        assert api.get(f"/deployments/{deployed.pk}/").json()["status"] != "stopped"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"agent": "greeter"}, "reason"),
            ({"agent": "greeter", "reason": " "}, "reason"),
            ({"reason": "x"}, ""),
            ({"agent": "greeter", "author": "builder@acme.example", "reason": "x"}, ""),
            ({"agent": "nobody", "reason": "x"}, "agent"),
            ({"author": "nobody@acme.example", "reason": "x"}, "author"),
            ({"agent": "greeter", "environment": "moon", "reason": "x"}, "environment"),
            ({"agent": "greeter", "reason": "x", "force": True}, "force"),
        ],
    )
    def test_what_makes_no_sense_is_refused_at_its_field(
        self, acme: Inhabited, agent: Agent, body: dict[str, Any], field: str
    ) -> None:
        answer = acme.api("owner").post("/stops/", body)
        assert answer.status_code == 422, answer.content
        assert not field or field in {error["field"] for error in answer.json()["errors"]}
        assert not Stop.objects.exists()


def test_the_receipts_can_be_verified_by_anybody_with_nothing_of_ours(
    acme: Inhabited, fleet: Fleet, agent: Agent, staging: Environment
) -> None:
    fleet.start_gateway("stage-1", "staging")
    fleet.deploy(agent.versions.get(), "staging")
    stop = commands.stop_agent(actor=SYSTEM, agent=agent, reason="it insults people")
    fleet.settle()
    fleet.reconcile()
    page = acme.client("viewer").get(f"/stops/{stop.public_id}/")
    assert "1 gateway confirmed with a signed receipt" in text(page)
    answer = acme.client("viewer").get(f"/stops/{stop.public_id}/receipts/")
    assert answer["content-disposition"] == f'attachment; filename="stop-{stop.public_id}.json"'
    document = json.loads(answer.content)
    assert document["unconfirmed"] == []
    assert recipe(document) == ["stage-1"]
    document["receipts"][0]["statement"]["at"] = "2020-01-01T00:00:00.000000Z"
    assert recipe(document) == []


def recipe(document: dict[str, Any]) -> list[str]:
    """The names that the recipe in docs/stops.md finds genuine, run as it stands there."""
    source = re.search(r"```python\n(.*?)```", open("docs/stops.md", encoding="utf-8").read(), re.DOTALL)  # noqa: PTH123, SIM115
    assert source is not None
    names: dict[str, Any] = {}
    exec(source[1], names)
    found: list[str] = names["genuine"](document)
    return found
