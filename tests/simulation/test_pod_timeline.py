"""What schedulers and kubelet hosts write down of each pod, in its order."""

from __future__ import annotations

import pathlib

from services.base.timeline import FileTimeline, Stage, read
from tests.support.kubelet_world import KubeletWorld
from tests.support.scheduling import SchedulerWorld


async def test_a_scheduler_marks_each_pod_as_seen_planned_claimed_and_bound(tmp_path: pathlib.Path) -> None:
    world = SchedulerWorld(("rp-1",))
    world.add_nodes("rp-1", 2, cpu="4")
    world.timeline = FileTimeline(tmp_path / "scheduler.tl")
    async with world.running():
        world.add_pods("a", "b", cpu="100m")
        await world.until_bound(2)
    world.timeline.close()
    marks = list(read(tmp_path / "scheduler.tl"))
    placed = {key.rpartition("/")[2]: "/".join(where) for key, where in world.tenant.placements().items()}
    assert len({mark.uid for mark in marks}) == 2
    for uid in {mark.uid for mark in marks}:
        mine = [mark for mark in marks if mark.uid == uid]
        assert [mark.stage for mark in mine] == [Stage.SEEN, Stage.SCHEDULED, Stage.CLAIMED, Stage.BOUND]
        assert mine[0].node == ""
        assert {mark.node for mark in mine[1:]} <= set(placed.values())


async def test_a_kubelet_marks_each_pod_from_its_first_sight_to_its_end(tmp_path: pathlib.Path) -> None:
    world = KubeletWorld(nodes=1)
    world.timeline = FileTimeline(tmp_path / "kubelet.tl")
    async with world.running():
        uid = world.bind("p").metadata.uid
        await world.until(lambda: world.phase("p") == "Running")
        await world.clock.advance(1)
        await world.delete("p", grace_s=1)
        await world.until(lambda: world.pod("p") is None)
    world.timeline.close()
    marks = list(read(tmp_path / "kubelet.tl"))
    assert [mark.stage for mark in marks] == [Stage.NODE_SEEN, Stage.RUN, Stage.STARTED, Stage.RUNNING, Stage.END]
    assert {(mark.uid, mark.node) for mark in marks} == {(uid, "rp-1/rp-1-n0000")}
