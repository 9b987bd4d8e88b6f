"""The kubelet of a node whose runtime runs each container by itself.

All that concerns the pod as a whole is ``Kubelet``'s. A pod always begins with what the runtime knows of it: containers
that an earlier kubelet started run on, also those whose start it never came to report; so nothing starts twice.
"""

from __future__ import annotations

from services.api.pb.ursa.core.v1.pod_pb2 import Pod
from services.kubelet import metrics
from services.kubelet.admission import Rejection
from services.kubelet.containers import UNKNOWN_CODE, UNKNOWN_REASON, ContainerPod, ContainerRun, Step
from services.kubelet.instructions import Instruction, Journal, SetTimer, StartContainer, StartPod, StopPod, Wake
from services.kubelet.kubelet import Kubelet, grace_s
from services.kubelet.runtime import RuntimeEvent, RuntimeEventType
from services.kubelet.worker import LIVE, PodWorker, Stage


class ContainerKubelet(Kubelet):
    """As ``Kubelet``; ``StartPod`` asks for what is known of a pod, ``StartContainer`` for each start."""

    __slots__ = ()

    def _new_worker(self, pod: Pod, partition: str) -> PodWorker:
        worker = ContainerPod(pod, partition, self._clock.time())
        statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
        for status in statuses:
            if (run := worker.containers.get(status.name)) is not None:
                run.restore(status)
        return worker

    def runtime_event(self, event: RuntimeEvent) -> list[Instruction]:
        worker = self.workers.get(event.uid)
        if not isinstance(worker, ContainerPod):
            return super().runtime_event(event)
        if event.type is RuntimeEventType.KNOWN:
            self._known(worker)
        elif event.container:
            self._told(worker, event)
        else:
            return super().runtime_event(event)
        return self._take()

    def timer(self, uid: str, wake: Wake) -> list[Instruction]:
        worker = self.workers.get(uid)
        if wake is not Wake.RESTART or not isinstance(worker, ContainerPod):
            return super().timer(uid, wake)
        self._go_on(worker)
        return self._take()

    def _start(self, worker: PodWorker) -> None:
        worker.adopted = worker.journaled
        self._out.append(StartPod(worker.pod, adopt=True))
        self._set_deadline(worker)

    def _reject(self, worker: PodWorker, rejection: Rejection) -> None:
        super()._reject(worker, rejection)
        # An earlier kubelet may have started it without coming to report that.
        self._out.append(StopPod(worker.uid, 0.0))

    # What the runtime tells.

    def _known(self, worker: ContainerPod) -> None:
        worker.known = True
        for run in worker.containers.values():
            if run.step is Step.RUNNING and run.name not in worker.mentioned:
                self._lost(worker, run)
        if worker.stage in LIVE:
            self._go_on(worker)

    def _lost(self, worker: ContainerPod, run: ContainerRun) -> None:
        """It was reported running, and the runtime has nothing of it."""
        message = "The container could not be located when the kubelet came back"
        event = RuntimeEvent(
            RuntimeEventType.EXITED,
            worker.uid,
            UNKNOWN_CODE,
            container=run.name,
            restart=run.restart_count,
            reason=UNKNOWN_REASON,
            message=message,
        )
        self._exited_container(worker, run, event)

    def _told(self, worker: ContainerPod, event: RuntimeEvent) -> None:
        run = worker.containers.get(event.container)
        if run is None:
            return  # Of a pod whose containers were named otherwise: ephemeral ones do not exist here.
        worker.mentioned.add(run.name)
        match event.type:
            case RuntimeEventType.STARTED:
                self._started_container(worker, run, event)
            case RuntimeEventType.EXITED:
                self._exited_container(worker, run, event)
            case RuntimeEventType.FAILED:
                self._refused_container(worker, run, event)
        if worker.known and worker.stage in LIVE:
            self._go_on(worker)

    def _started_container(self, worker: ContainerPod, run: ContainerRun, event: RuntimeEvent) -> None:
        found = run.step is Step.RUNNING
        again = event.restart > 0
        run.started(event, self._clock.time())
        worker.pod_ip = event.pod_ip or worker.pod_ip
        if found:
            return  # As the status says already.
        if again:
            metrics.RESTARTED_CONTAINERS.inc()
        self._record(worker, "Normal", "Started", f"Started container {run.name}")
        if event.message:
            self._record(worker, "Warning", "NotHonoured", event.message)

    def _exited_container(self, worker: ContainerPod, run: ContainerRun, event: RuntimeEvent) -> None:
        told = run.ended is not None and run.ended.restart == event.restart
        pause_s = run.exited(event, self._clock.time())
        if pause_s is None or worker.stage not in LIVE:
            return
        if pause_s and not told:
            text = f"Back-off {pause_s:.0f}s restarting failed container {run.name}"
            self._record(worker, "Warning", "BackOff", text)
        self._out.append(SetTimer(worker.uid, pause_s, Wake.RESTART))

    def _refused_container(self, worker: ContainerPod, run: ContainerRun, event: RuntimeEvent) -> None:
        self._record(worker, "Warning", "Failed", f"Error: {event.message}")
        self._out.append(SetTimer(worker.uid, run.refused(event, self._clock.time()), Wake.RESTART))

    # What follows.

    def _go_on(self, worker: ContainerPod) -> None:
        """Start what is due, or end the pod; report what differs from its status."""
        if not worker.known or worker.stage not in LIVE:
            return
        phase = worker.phase_of_end()
        if phase:
            self._finish(worker, phase)
            return
        for run in worker.startable(self._clock.time()):
            self._out.append(StartContainer(worker.pod, run.name, run.starts()))
        if worker.stage is not Stage.RUNNING and all(run.begun for run in worker.main):
            self._all_begun(worker)
        # What an earlier kubelet has reported and still holds is not written again.
        if not worker.adopted or worker.written_phase or self._differs(worker):
            self._report(worker)

    def _all_begun(self, worker: ContainerPod) -> None:
        worker.stage = Stage.RUNNING
        metrics.RUNNING_PODS.inc()
        worker.container_started_s = min(run.started_s for run in worker.main) or self._clock.time()
        if worker.journaled:
            return
        worker.journaled = True
        metrics.STARTED_PODS.inc()
        metrics.START_SECONDS.observe(max(0.0, worker.container_started_s - worker.seen_s))
        self._out.append(Journal(worker.pod, worker.partition, restarted=False))

    def _finish(self, worker: ContainerPod, phase: str) -> None:
        worker.phase = phase
        if any(run.begun for run in worker.main) and not worker.container_started_s:
            worker.container_started_s = self._clock.time()
        if any(run.step in (Step.RUNNING, Step.STARTING) for run in worker.containers.values()):
            self._stop(worker, grace_s(worker.pod))  # Sidecars end with the pod.
            return
        self._leave_running(worker)
        worker.stage = Stage.ENDED
        worker.finished_s = self._clock.time()
        self._report(worker)
