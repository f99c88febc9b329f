"""A new organization's way to its first answer: each step is done when it is true."""

from __future__ import annotations

import re

from apps.agents.commands import create, publish
from apps.agents.definitions import Definition
from apps.deployments.commands import lift_stop, stop_agent
from apps.home.steps import first_steps, next_step
from tests.harness.fleet import SYSTEM, Fleet
from tests.harness.world import Inhabited


def _done() -> list[bool]:
    return [step.done for step in first_steps(SYSTEM)]


def test_each_step_ticks_itself_off_from_the_facts(acme: Inhabited, fleet: Fleet) -> None:
    client = acme.client("owner")
    assert _done() == [False, False, False, False]
    assert "From nothing to an answer" in client.get("/").content.decode()

    agent = create(actor=SYSTEM, slug="greeter", definition=Definition(name="Greeter", instructions="Greet."))
    write = first_steps(SYSTEM)[0]
    assert (write.done, write.waits, write.address) == (
        False, "Greeter is a draft; publish it", "/agents/greeter/publish/",
    )  # fmt: skip
    version = publish(actor=SYSTEM, agent=agent)
    assert _done() == [True, False, False, False]

    process = fleet.start_gateway("eu-1")
    process.kill()
    fleet.poll()
    register = first_steps(SYSTEM)[1]
    assert (register.done, register.waits) == (False, "eu-1: connection refused")
    assert register.address == "/gateways/eu-1/"
    process.start()
    fleet.poll()
    assert _done() == [True, True, False, False]

    process.kill()
    fleet.deploy(version)
    assert "0 of 1 gateway acknowledged version 1" in first_steps(SYSTEM)[2].waits
    process.start()
    fleet.poll()
    fleet.settle()
    assert _done() == [True, True, True, False]
    step = next_step(first_steps(SYSTEM))
    assert step is not None
    assert step.title == "Call it"
    stop = stop_agent(actor=SYSTEM, agent=version.agent, reason="not today")
    assert _done() == [True, True, True, False], "what is stopped was deployed"
    lift_stop(actor=SYSTEM, stop=stop, reason="today")
    fleet.settle()

    key = fleet.issue_key()
    assert fleet.call("eu-1", "greeter-production", key).status_code == 200
    fleet.poll()
    assert first_steps(SYSTEM) == ()
    page = client.get("/").content.decode()
    assert "From nothing to an answer" not in page
    assert "Everything is as it should be" in page


def test_steps_offer_only_what_the_actor_may_do(acme: Inhabited) -> None:
    def offered(role: str) -> set[str]:
        page = acme.client(role).get("/").content.decode()
        steps = page[page.index("first-steps") : page.index("home-side")]
        return set(re.findall(r'<a class="btn[^"]*" href="([^"]+)"', steps))

    assert {"/agents/new/", "/gateways/register/new/"} <= offered("owner")
    assert "/agents/new/" in offered("builder")
    assert "/gateways/register/new/" not in offered("builder")
    assert "/agents/new/" not in offered("viewer")
