"""The whole story of a pod or a node, line by line, for whoever reads a violation. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from services.bench.chaos.facts import Fault, NodeSeen, PodSeen, Ran
from services.bench.chaos.history import History, PodLife


def of_pod(history: History, uid: str) -> list[str]:
    """What happened to the pod and, between its first and last moment, to its node, in the order of time."""
    life = history.pods.get(uid)
    if life is None:
        return [f"nothing is known of {uid}"]
    lines = sorted([*_events(life), *_faults(history, life)], key=lambda line: line[0])
    begin = history.begun.at
    told = [f"{at - begin:9.3f}  {text}" for at, text in lines]
    told.append(f"    final  {_final(life)}")
    return [f"pod {uid} {life.partition}{life.key} workload={life.workload or '-'}", *told]


def of_node(history: History, node: str) -> list[str]:
    """What the watches told of the node, and the faults that silenced it."""
    lines = [
        (one.at, f"{one.watch}: {one.event} ready={one.ready} taints={','.join(one.no_execute) or '-'}")
        for one in history.of(NodeSeen)
        if one.node == node
    ]
    lines += [(fault.began, _fault(fault)) for fault in history.faults if node in (*fault.silent, *fault.restarted)]
    begin = history.begun.at
    return [f"node {node}", *(f"{at - begin:9.3f}  {text}" for at, text in sorted(lines))]


def _events(life: PodLife) -> Iterator[tuple[float, str]]:
    if life.created is not None:
        yield life.created.at, f"created, acknowledged ({life.created.name})"
    for asked in life.asked:
        yield asked.began, f"deletion asked for ({type(asked).__name__.lower()})"
    for one in life.seen:
        yield one.at, _seen(one)
    for ran in life.runs:
        yield ran.at, _ran(ran)


def _seen(one: PodSeen) -> str:
    marks = [f"phase={one.phase or '-'}", f"node={one.node or '-'}", *(["ready"] if one.ready else [])]
    marks += ["ending"] if one.ending else []
    marks += [f"disruption={one.disruption}"] if one.disruption else []
    return f"{one.watch}: {one.event} @{one.resource_version} {' '.join(marks)}"


def _ran(ran: Ran) -> str:
    return f"containers {'begin' if ran.stage == 'run' else 'end'} on {ran.node}"


def _faults(history: History, life: PodLife) -> Iterator[tuple[float, str]]:
    for fault in history.faults:
        touched = life.node and life.node in (*fault.silent, *fault.restarted)
        if touched or life.partition in fault.partitions:
            yield fault.began, _fault(fault)
            yield fault.ended, f"fault over: {fault.name} of {fault.target}"


def _fault(fault: Fault) -> str:
    return f"fault: {fault.name} of {fault.target}" + (f" ({fault.detail})" if fault.detail else "")


def _final(life: PodLife) -> str:
    final = life.final
    if final is None:
        return "gone"
    return f"phase={final.phase} node={final.node or '-'}{' ready' if final.ready else ''}" + (
        " ending" if final.ending else ""
    )
