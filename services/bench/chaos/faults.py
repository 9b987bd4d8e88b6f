"""The faults: each is brought about, lasts, is undone, and says what it did to whom."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from services.base.clock import Clock
from services.base.rand import Rand
from services.bench.chaos.actions import Actions, Disturbance, NotDone
from services.bench.chaos.facts import Fault
from services.bench.chaos.parameters import ChaosParameters

# What a killed process may take until the supervisor has started another and that is ready.
RESTART_S = 60.0

Inject = Callable[[], Awaitable[list[Fault]]]
Note = Callable[[str], None]

# In the order of a run without ``--faults``; what each does is said in docs/robustness.md.
NAMES = (
    "node-death",
    "rp-kill",
    "tp-kill",
    "etcd-kill",
    "scheduler-kill",
    "controller-kill",
    "kubelet-crash",
    "kubelet-kill",
    "rp-pause",
    "etcd-pause",
    "controller-pause",
    "link-cut",
    "node-cut",
    "tp-dark",
)
# They take nodes away until their pods are evicted: where that takes long, they go on while the others come in turn.
TAKE_NODES = ("node-death", "node-cut")
# It needs nodes that are about to be evicted.
DARK = "tp-dark"
# A new process of a kubelet host knows nothing of the nodes that are away.
NOT_MEANWHILE = ("kubelet-kill",)


class Faults:
    """``nodes``: those of each resource partition that may be taken, asked anew each time. ``note``: told what is done,
    as it is done."""

    def __init__(
        self,
        actions: Actions,
        parameters: ChaosParameters,
        nodes: Callable[[], Mapping[str, Sequence[str]]],
        clock: Clock,
        rand: Rand,
        note: Note,
    ) -> None:
        self._actions = actions
        self._parameters = parameters
        self._nodes = nodes
        self._clock = clock
        self._rand = rand
        self._note = note
        # Who is away at the moment; the checks meanwhile excuse them.
        self.away: set[str] = set()
        self._death: float | None = None

    def catalogue(self) -> Mapping[str, Inject]:
        """Every fault by name."""
        killed = {
            "rp-kill": ("resource-partition",),
            "tp-kill": ("tenant-partition",),
            "etcd-kill": ("etcd",),
            "scheduler-kill": ("scheduler",),
            "controller-kill": ("controllers",),
            "kubelet-kill": ("kubelet",),
        }
        paused = {"rp-pause": "resource-partition", "etcd-pause": "etcd", "controller-pause": "controllers"}
        return {
            **{name: partial(self._kill, name, *kinds) for name, kinds in killed.items()},
            **{name: partial(self._pause, name, kind) for name, kind in paused.items()},
            "node-death": partial(self._take, "node-death"),
            "node-cut": partial(self._take, "node-cut"),
            "kubelet-crash": self._crash,
            "link-cut": self._cut_link,
            DARK: self._dark,
        }

    def evictions_begin_in(self) -> float | None:
        """Seconds until the first pods of nodes that died must go, negative when that is past; None: no node died."""
        if self._death is None:
            return None
        parameters = self._parameters
        return self._death + parameters.grace_s + parameters.toleration_s - self._clock.monotonic()

    # -- processes

    async def _kill(self, name: str, kind: str) -> list[Fault]:
        """SIGKILL; the supervisor starts another."""
        target = self._rand.choice(self._actions.components(kind))
        before = self._actions.pid(target)
        self._note(f"{name}: SIGKILL of {target}")
        began = self._clock.monotonic()
        self._actions.send(target, signal.SIGKILL)
        back = await self._actions.until_anew(target, before, RESTART_S)
        if kind == "kubelet":
            # Its nodes are silent until their leases are renewed again.
            await self._clock.sleep(self._parameters.renew_s)
        return [self._process_fault(name, target, kind, began, "" if back else f"not ready {RESTART_S:.0f} s after it")]

    async def _pause(self, name: str, kind: str) -> list[Fault]:
        """SIGSTOP for longer than the grace, then SIGCONT."""
        choices = self._actions.components(kind)
        if name == "etcd-pause":
            choices = [one for one in choices if one.startswith("etcd-rp")]
        if name == "controller-pause":
            choices = [one for one in choices if one.startswith("controller-rp")]
        target = self._rand.choice(choices)
        self._note(f"{name}: SIGSTOP of {target} for {self._parameters.outage_s:.0f} s")
        began = self._clock.monotonic()
        self._actions.send(target, signal.SIGSTOP)
        try:
            await self._clock.sleep(self._parameters.outage_s)
        finally:
            self._actions.send(target, signal.SIGCONT)
        return [self._process_fault(name, target, kind, began, "")]

    def _process_fault(self, name: str, target: str, kind: str, began: float, detail: str) -> Fault:
        partition = target.removeprefix("etcd-").removeprefix("controller-")
        serves = kind in ("resource-partition", "tenant-partition", "etcd")
        everybody = tuple(node for nodes in self._nodes().values() for node in nodes) if kind == "kubelet" else ()
        return Fault(
            name,
            target,
            began,
            self._clock.monotonic(),
            silent=everybody,
            restarted=everybody,
            partitions=(partition,) if serves else (),
            unmanaged=(partition,) if kind == "controllers" else (),
            detail=detail,
        )

    # -- machines

    async def _take(self, name: str) -> list[Fault]:
        """Nodes die or are cut off until their pods must have been evicted, and come back."""
        chosen = self._choose()
        dead = name != "node-cut"
        self._note(f"{name}: {', '.join(chosen)} for {self._parameters.away_s:.0f} s")
        began = await self._disturb(Disturbance.DEATH if dead else Disturbance.CUT, chosen)
        self._death = began if dead else self._death
        await self._clock.sleep(self._parameters.away_s)
        return [await self._give_back(name, chosen, began, dead=dead)]

    async def _crash(self) -> list[Fault]:
        """Kubelets forget everything, their containers run on."""
        chosen = self._choose()
        self._note(f"kubelet-crash: {', '.join(chosen)}")
        began = self._clock.monotonic()
        await self._actions.disturb(Disturbance.CRASH, chosen)
        target = ", ".join(chosen)
        return [Fault("kubelet-crash", target, began, self._clock.monotonic(), restarted=tuple(chosen))]

    async def _dark(self) -> list[Fault]:
        """Nodes die while a tenant partition answers nobody: in the others evictions go on; in that one they follow."""
        parameters = self._parameters
        if parameters.in_background:
            # Nodes have died before, and their pods are about to be evicted.
            return [await self._darken(parameters.eviction_s - parameters.grace_s - parameters.toleration_s)]
        chosen = self._choose()
        self._note(f"{DARK}: {', '.join(chosen)} die for {parameters.eviction_s:.0f} s")
        began = await self._disturb(Disturbance.DEATH, chosen)
        dark = await self._darken(parameters.eviction_s + 1.0)
        # Until what had to wait must have been done, too.
        await self._clock.sleep(2 * parameters.slack_s + parameters.dying / parameters.evictions_per_s + 1.0)
        return [dark, await self._give_back(DARK, chosen, began, dead=True)]

    async def _darken(self, seconds: float) -> Fault:
        target = self._rand.choice(self._actions.components("tenant-partition"))
        self._note(f"{DARK}: SIGSTOP of {target} for {seconds:.0f} s")
        began = self._clock.monotonic()
        self._actions.send(target, signal.SIGSTOP)
        try:
            await self._clock.sleep(seconds)
        finally:
            self._actions.send(target, signal.SIGCONT)
        return Fault(DARK, target, began, self._clock.monotonic(), partitions=(target,))

    def _choose(self) -> list[str]:
        """Of each resource partition, nodes that are well, with pods on them where there are such."""
        chosen = []
        for nodes in self._nodes().values():
            left = [node for node in nodes if node not in self.away]
            for _ in range(min(self._parameters.dying, len(left))):
                taken = self._rand.choice(left[: max(1, len(left) // 2)])
                left.remove(taken)
                chosen.append(taken)
        if not chosen:
            raise NotDone("there is no node to take")
        return chosen

    async def _disturb(self, kind: Disturbance, chosen: Sequence[str]) -> float:
        """When it began."""
        self.away.update(chosen)
        began = self._clock.monotonic()
        await self._actions.disturb(kind, chosen)
        return began

    async def _give_back(self, name: str, chosen: Sequence[str], began: float, *, dead: bool) -> Fault:
        await self._actions.restore(chosen)
        self.away.difference_update(chosen)
        nodes = tuple(chosen)
        now = self._clock.monotonic()
        return Fault(name, ", ".join(chosen), began, now, silent=nodes, dead=nodes if dead else ())

    # -- links

    async def _cut_link(self) -> list[Fault]:
        """The network between two partitions' sites is gone, or swallows everything, for longer than the grace."""
        asks, asked = place = self._rand.choice(sorted(self._actions.links))
        link = self._actions.links[place]
        silently = self._rand.choice((False, True))
        how = "stalls" if silently else "refuses"
        self._note(f"link-cut: from {asks} to {asked} {how} for {self._parameters.outage_s:.0f} s")
        began = self._clock.monotonic()
        (link.stall if silently else link.sever)()
        try:
            await self._clock.sleep(self._parameters.outage_s)
        finally:
            link.heal()
        partitions = (asked,)
        return [Fault("link-cut", f"{asks} to {asked}", began, self._clock.monotonic(), partitions=partitions)]
