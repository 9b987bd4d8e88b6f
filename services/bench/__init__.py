"""Measurement of the control plane: workloads, drivers, statistics, reports.

A benchmark starts the cluster that it measures by command line, on its own ports and data directory, talks to it as any
client does, measures its reference in the same run, and leaves nothing behind. It never imports a process' package.
"""
