"""Pure facts about pods and nodes that scheduler, kubelet admission and controllers share.

Amounts are int64 in canonical units: CPU in thousandths, memory and storage in bytes, all else in whole units.
Nothing here does I/O or keeps state.
"""
