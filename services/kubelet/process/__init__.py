"""The ``process`` runtime: a container is a process group of this machine, run as the kubelet's own user.

``shim.py`` keeps one container while kubelets come and go: it starts the command, writes what it prints to the log and
records how it ended. ``ProcessRuntime`` starts shims, finds again those of an earlier kubelet, and tells the kubelet
what became of them. There is no isolation of any kind: it is for development on one machine, and off by default.
"""
