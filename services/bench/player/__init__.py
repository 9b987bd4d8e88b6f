"""Load players: schedules of API requests, played at their times against a cluster, and what became of each pod.

A schedule is a pure value made from parameters and a seed; the driver plays it open-loop (a latency counts from the
time a request was due, so a slow server hides nothing); a witness in a process of its own watches every pod. A run
counts only if each acknowledged pod was seen to run once, on a node that exists, and nothing was lost or bound twice.
"""
