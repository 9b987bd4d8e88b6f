"""What the domain plug-ins share: extremes that follow changes, counts per domain, groups of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.domains import Extremes
from services.scheduler.core.topology import Domains, Topology


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=10),
)
def test_extremes_are_those_of_the_chosen_values_after_every_change(
    start: list[tuple[int, bool]], changes: list[tuple[int, int]]
) -> None:
    values = np.asarray([value for value, _ in start], dtype=np.int64)
    chosen = np.asarray([is_chosen for _, is_chosen in start])
    extremes = Extremes()
    extremes.reset(values.copy(), chosen)
    for index, value in changes:
        at = index % len(values)
        before = (extremes.least, extremes.greatest)
        changed = extremes.change(np.asarray([at]), np.asarray([value]))
        values[at] = value
        now = (values[chosen].min(), values[chosen].max()) if chosen.any() else (0, 0)
        assert (extremes.least, extremes.greatest) == now
        assert changed == (before != now)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 2), st.integers(-1, 3), st.integers(0, 9)), min_size=1))
def test_rows_are_in_one_group_exactly_if_they_agree_in_partition_and_every_key(
    rows: list[tuple[int, int, int, int]],
) -> None:
    partition, zone, rack, pods = (np.asarray(column) for column in zip(*rows, strict=True))
    zones = Domains(zone.astype(np.int32), 3)
    topology = Topology.of({"zone": zones, "rack": Domains(rack.astype(np.int32), 4)}, partition.astype(np.int32))
    for row, group in enumerate(topology.group.tolist()):
        alike = (partition == partition[row]) & (zone == zone[row]) & (rack == rack[row])
        assert ((topology.group == group) == alike).all()
        assert topology.partition[group] == partition[row]
        assert (topology.codes["zone"][group], topology.codes["rack"][group]) == (zone[row], rack[row])
    assert (np.diff(topology.partition) >= 0).all()
    assert zones.sums(pods).tolist() == [*(int(pods[zone == value].sum()) for value in range(3)), 0]
