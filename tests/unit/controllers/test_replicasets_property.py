"""Whatever happens in whatever order, and however slow the watch is: exactly as many pods as wanted, never more on the
way there."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.client.informer import Change
from services.controllers.replicasets.decide import decide
from services.controllers.replicasets.facts import Belongings, Wanted
from services.controllers.replicasets.pending import Pending
from services.controllers.tenantpods import TenantPod
from tests.unit.controllers.tenant_pods import tenant_pod
from tests.unit.controllers.test_replicasets import NOW, WEB, wanted

PICK = st.integers(min_value=0, max_value=1_000)
BURST = 5


class Replicas(RuleBasedStateMachine):
    """A server with its log of changes, a watch that is anywhere behind it, and a controller as the real one works:
    it looks only when what it wrote is seen, and dies at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.pods: dict[str, TenantPod] = {}
        self.log: list[tuple[int, TenantPod | None, TenantPod | None]] = []
        self.wanted: Wanted = wanted(0)
        # The most pods that anybody has asked for since there were so many.
        self.most = 0

    @initialize(replicas=st.integers(min_value=0, max_value=12))
    def begin(self, replicas: int) -> None:
        self.wanted = wanted(replicas)
        self.most = replicas
        self.restart()

    # The world

    def _change(self, uid: str, new: TenantPod | None) -> int:
        self.version += 1
        old = self.pods.pop(uid, None)
        if new is not None:
            new = new._replace(version=self.version)
            self.pods[uid] = new
        self.log.append((self.version, old, new))
        return self.version

    def _pick(self, number: int) -> TenantPod | None:
        mine = [pod for pod in self.pods.values() if pod.active]
        return mine[number % len(mine)] if mine else None

    @rule(number=PICK)
    def a_pod_is_deleted_at_once(self, number: int) -> None:
        pod = self._pick(number)
        if pod is not None:
            self._change(pod.uid, None)

    @rule(number=PICK)
    def a_pod_begins_to_end(self, number: int) -> None:
        pod = self._pick(number)
        if pod is not None:
            self._change(pod.uid, pod._replace(ending=True))

    @rule(number=PICK, phase=st.sampled_from(["Running", "Failed", "Succeeded"]))
    def a_pod_gets_on(self, number: int, phase: str) -> None:
        pod = self._pick(number)
        if pod is not None:
            ready = int(NOW) - number if phase == "Running" else 0
            node = f"n{number % 3}"
            self._change(pod.uid, pod._replace(phase=phase, ready_since=ready, node=node, partition="rp-1"))

    @rule()
    def what_ends_is_gone(self) -> None:
        for pod in [pod for pod in self.pods.values() if pod.ending or pod.finished]:
            self._change(pod.uid, None)

    @rule(replicas=st.integers(min_value=0, max_value=12))
    def it_is_scaled(self, replicas: int) -> None:
        self.wanted = replace(self.wanted, replicas=replicas)
        self.most = max(replicas, self._active())

    # The controller

    @rule()
    def restart(self) -> None:
        """A new one lists everything as it is."""
        self.belongings, self.pending = Belongings(), Pending()
        self.belongings.see_set(None, self.wanted)
        self.seen = dict(self.pods)
        self.position = self.version
        for pod in self.seen.values():
            self.belongings.see_pod(Change(pod.uid, None, pod, "tp-1"))

    @rule(events=st.integers(min_value=1, max_value=8))
    def the_watch_gets_on(self, events: int) -> None:
        for version, old, new in [entry for entry in self.log if entry[0] > self.position][:events]:
            uid = (new or old).uid  # type: ignore[union-attr]
            self.belongings.see_pod(Change(uid, self.seen.pop(uid, None), new, "tp-1"))
            if new is not None:
                self.seen[uid] = new
            self.position = version

    @rule(refused=st.integers(min_value=0, max_value=3), dies_after=st.integers(min_value=0, max_value=20))
    def it_looks(self, refused: int = 0, dies_after: int = 20) -> None:
        """``refused``: every so many-th create is refused; ``dies_after``: it is killed after so many writes."""
        uid = self.wanted.uid
        if not self.pending.settled(uid, self.position, self.seen, 0.0):
            return
        active = [pod for pod in self.belongings.owned(uid) if pod.active and self.wanted.selects(pod)]
        plan = decide(self.wanted, active, NOW, BURST)
        writes = 0
        for number in range(plan.create):
            if writes == dies_after:
                self.restart()
                return
            writes += 1
            if refused and number % refused == refused - 1:
                continue
            name = f"p{self.version}"
            version = self._change(name, tenant_pod(name, owner=uid, labels=WEB))
            self.pending.wrote(uid, version, 0.0)
        for pod in plan.delete:
            if writes == dies_after:
                self.restart()
                return
            writes += 1
            live = self.pods.get(pod.uid)
            if live is None or not live.node:
                if live is not None:
                    self._change(pod.uid, None)
                self.pending.removed(uid, [pod.uid], 0.0)
            else:
                version = live.version if live.ending else self._change(pod.uid, live._replace(ending=True))
                self.pending.wrote(uid, version, 0.0)

    def _active(self) -> int:
        return sum(pod.active for pod in self.pods.values())

    @invariant()
    def never_more_than_anybody_wanted(self) -> None:
        assert self._active() <= self.most

    def teardown(self) -> None:
        """Left alone, it comes to exactly what is wanted, and stays there."""
        if not hasattr(self, "belongings"):
            return
        for _ in range(20):
            self.the_watch_gets_on(events=10_000)
            self.it_looks()
        assert self._active() == self.wanted.replicas
        before = self.version
        self.the_watch_gets_on(events=10_000)
        self.it_looks()
        assert self.version == before


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
