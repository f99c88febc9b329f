"""One run: an installation is made, used, struck again and again, and judged."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connection

from apps.gateways.leases import LEASE_S
from tests.chaos import checks
from tests.chaos.evidence import gather, unfinished, unsettled
from tests.chaos.fleet import Tenant, settle_in
from tests.chaos.plan import Round, Silence, Strike, Victim, Wish, make_plan
from tests.chaos.prober import Prober
from tests.chaos.proxy import Network, Weather
from tests.chaos.studio import fulfil, go_on, pick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.installation import Installation
    from tests.chaos.processes import Process

_RECOVER_WITHIN_S = 120.0
_PATIENT_S = 10.0
_LOOK_EVERY_S = 0.2


@dataclass
class Report:
    """What a run found.

    Attributes:
        recoveries_s: for each death, seconds until everything wanted was there and recorded again.
        problems: by check, what is wrong.
        faults: how often requests met which fault.
    """

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[float] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    promises: int = 0
    refused: int = 0
    sightings: int = 0
    applied: int = 0
    lease_s: float = LEASE_S

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.problems.values())

    def in_words(self) -> str:
        """What was done, for people: a run in which nothing happened proves nothing."""
        kills = ", ".join(f"{count} {victim}" for victim, count in sorted(self.kills.items()))
        faults = ", ".join(f"{count} {fault}" for fault, count in sorted(self.faults.items()))
        return (
            f"killed: {kills}\nrequests: {faults}\n"
            f"{self.promises} commands committed ({self.refused} refused), {self.applied} placements took effect, "
            f"{self.sightings} calls compared"
        )

    def figures(self) -> dict[str, object]:
        """What is published of a run."""
        count = {check: len(found) for check, found in self.problems.items()}
        return {
            "kills": sum(self.kills.values()),
            "lost": count["lost"] + count["forgotten"],
            "max_recovery_s": round(max(self.recoveries_s, default=0.0), 1),
            "lease_s": self.lease_s,
            "applied_twice": count["applied_twice"],
            "stale": count["stale"],
            "other": sum(count.values()) - sum(count[each] for each in ("lost", "forgotten", "applied_twice", "stale")),
            "seed": self.seed,
        }


class Run:
    """A run in progress. `Installation`s are started, and Django knows their addresses."""

    def __init__(
        self, installation: Installation, *, seed: int, kills: int, tenants: int, gateways: int, weather: Weather
    ) -> None:
        self._installation = installation
        self._network = Network()
        self._plan = make_plan(seed, kills=kills, tenants=tenants)
        self._tenants = settle_in(
            installation, self._network, tenants=tenants, gateways=gateways, seed=seed, weather=weather
        )
        self._replicas = [replica for tenant in self._tenants for replica in tenant.replicas]
        self._locks = {process.name: threading.Lock() for process in installation.processes}
        self._prober = Prober(self._tenants, seed)
        self.report = Report(seed)

    def go(self) -> Report:
        """Do all rounds and judge."""
        say(f"{len(self._replicas)} gateways, {len(self._plan)} rounds, seed {self.report.seed}")
        self._recover("the beginning", [])
        self._prober.start()
        try:
            for number, each in enumerate(self._plan, 1):
                if not self._round(number, each):
                    break
        finally:
            self._prober.stop()
        self._judge()
        return self.report

    def close(self) -> None:
        """End the gateways and the network."""
        for replica in self._replicas:
            replica.close()
        self._network.close()

    # A round ----------------------------------------------------------------------------------------------------------

    def _round(self, number: int, each: Round) -> bool:
        """Do a round; False if it did not recover, after which there is no point in going on."""
        deaths: list[float] = []
        began = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            jobs: list[Future[None]] = []
            for tenant in self._tenants:
                wishes = [wish for wish in each.wishes if wish.tenant == tenant.index]
                jobs.append(pool.submit(self._wish, tenant, wishes, began))
            jobs += [pool.submit(self._strike, strike, began, deaths) for strike in each.strikes]
            jobs += [pool.submit(self._silence, silence, began) for silence in each.silences]
            for job in jobs:
                job.result()
        what = ", ".join(strike.victim for strike in each.strikes)
        recovered = self._recover(f"round {number} ({what})", deaths)
        for process in self._installation.processes:
            process.wait_ready()
        return recovered and self._finish(f"round {number}")

    def _wish(self, tenant: Tenant, wishes: Sequence[Wish], began: float) -> None:
        """One person's wishes, one after the other."""
        try:
            for wish in wishes:
                _sleep_until(began + wish.at_s)
                fulfil(tenant, wish)
        finally:
            connection.close()

    def _silence(self, silence: Silence, began: float) -> None:
        replica = pick(self._replicas, silence.which)
        _sleep_until(began + silence.at_s)
        replica.proxy.silent = True
        time.sleep(silence.for_s)
        replica.proxy.silent = False

    def _strike(self, strike: Strike, began: float, deaths: list[float]) -> None:
        _sleep_until(began + strike.at_s)
        deaths.append(time.monotonic())
        self.report.kills[strike.victim] += 1
        if strike.victim in (Victim.GATEWAY, Victim.WIPED_GATEWAY):
            replica = pick(self._replicas, strike.which)
            replica.die(down_s=strike.down_s, wipe=strike.victim is Victim.WIPED_GATEWAY)
            return
        process = pick(self._victims()[strike.victim], strike.which)
        with self._locks[process.name]:
            if strike.victim is Victim.WORKER_CHILD and process.kill_descendant():
                return  # the worker itself forks another
            process.kill()
            time.sleep(strike.down_s)
            process.start()

    def _victims(self) -> dict[Victim, list[Process]]:
        installation = self._installation
        return {
            Victim.WORKER: installation.workers,
            Victim.WORKER_CHILD: installation.workers,
            Victim.SCANNER: installation.scanners,
            Victim.BROKER: [installation.broker],
            Victim.DATABASE: [installation.database],
        }

    def _recover(self, what: str, deaths: Sequence[float]) -> bool:
        """Wait until everything wanted is there and recorded; note how long each death took to get over."""
        if not self._wait_until_none(unsettled, what):
            return False
        now = time.monotonic()
        took = [now - death for death in deaths]
        self.report.recoveries_s += took
        say(f"{what}: recovered" + (f" {max(took):.1f} s after the first" if took else ""))
        return True

    def _finish(self, what: str) -> bool:
        """Wait until every rollout has taken its last step, and that step is done as well."""

        def left(tenants: Sequence[Tenant]) -> list[str]:
            for tenant in tenants:
                go_on(tenant)
            return unfinished(tenants) or unsettled(tenants)

        return self._wait_until_none(left, what)

    def _wait_until_none(self, ask: Callable[[Sequence[Tenant]], list[str]], what: str) -> bool:
        """Ask for problems until there are none; what is left in the end is one of the run."""
        began = time.monotonic()
        told = began + _PATIENT_S
        while problems := ask(self._tenants):
            if time.monotonic() > began + _RECOVER_WITHIN_S:
                self.report.problems["unsettled"] = [f"after {what}: {problem}" for problem in problems]
                return False
            if time.monotonic() > told:
                told = time.monotonic() + _PATIENT_S
                say(f"{what}: still waiting for {len(problems)}, such as: {problems[0]}")
            time.sleep(_LOOK_EVERY_S)
        return True

    # Judging ----------------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        report = self.report
        histories = [each for replica in self._replicas for each in replica.history()]
        report.faults = self._network.met()
        report.sightings, report.applied = len(self._prober.sightings), len(histories)
        report.problems.setdefault("unsettled", [])
        report.problems |= {
            "applied_twice": checks.applied_twice(histories),
            "went_back": checks.went_back(histories),
            "stale": checks.stale(self._prober.sightings, histories),
            "lost": [],
            "forgotten": [],
            "failures": self._installation.failures(),
            "untold": [],
            "chain": [],
        }
        for tenant in self._tenants:
            evidence = gather(tenant)
            report.promises += len(tenant.ledger.promises)
            report.refused += tenant.ledger.refused
            report.problems["lost"] += checks.lost(tenant.ledger.expected(), evidence.served)
            report.problems["lost"] += checks.unstopped(tenant.ledger.stops, evidence.stopped)
            report.problems["forgotten"] += checks.forgotten(tenant.ledger, evidence.results, evidence.entries)
            report.problems["untold"] += checks.untold(evidence.succeeded, evidence.entries)
            report.problems["chain"] += evidence.chain_problems


def say(text: str) -> None:
    """One line of progress, on standard error: standard output belongs to the figures."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
