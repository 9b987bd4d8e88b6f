"""The protocol of claims keeps its invariants in every state of every small world, and each rule is needed for that.

``URSA_CLAIMS_SEARCH=large`` searches larger worlds as well (minutes).
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.simulation.claims.model import RULES, Rules
from tests.simulation.claims.search import search
from tests.simulation.claims.worlds import LARGE_WORLDS, WORLDS

STATES = {
    "race": 8_271,
    "two partitions": 12_891,
    "preemption": 37_950,
    "smaller than its victim": 2_894,
    "two preemptors": 4_132,
    "nodes": 28_122,
    "by hand": 6_110,
    "two servers": 74_724,
    "servers and a victim": 7_988,
}
"""How many there are, as docs/adr/0011 has it: a search that suddenly sees fewer has lost moves."""

CAUGHT = {
    "bind_compares_epoch": ("race", "SameEpoch"),
    "bind_only_unbound": ("two partitions", "BoundOnce"),
    "bind_refuses_ended": ("race", "EndedForEver"),
    "revoke_raises_epoch": ("race", "BoundUnderClaim"),
    "release_compares_epoch": ("race", "BoundUnderClaim"),
    "release_keeps_where_bound": ("race", "BoundUnderClaim"),
    "release_needs_fact": ("race", "BoundUnderClaim"),
    "release_needs_more_than_a_read": ("race", "BoundUnderClaim"),
    "release_needs_more_than_a_view": ("race", "BoundUnderClaim"),
    "claim_raises_epoch": ("race", "SameEpoch"),
    "claim_refuses_old_epoch": ("race", "SameEpoch"),
    "one_claim_per_pod": ("race", "LedgerAgrees"),
    "promise_is_reserved": ("preemption", "PromiseKept"),
    "promise_counts_the_greater": ("smaller than its victim", "NoOvercommit"),
    "promise_waits_for_all": ("preemption", "PromiseKept"),
    "victim_is_promised_once": ("two preemptors", "OnePromisePerVictim"),
    "promise_held_only_with_room": ("nodes", "NoOvercommit"),
    "victim_holds": ("two preemptors", "VictimsHold"),
    "node_keeps_ledger": ("nodes", "LedgerAgrees"),
    "kubelet_claims": ("by hand", "BoundUnderClaim"),
    "kubelet_claims_anew": ("by hand", "SameEpoch"),
    "ledger_is_compared": ("two servers", "LedgerAgrees"),
    "claim_is_compared": ("two servers", "LedgerAgrees"),
    "compared_by_revision": ("servers and a victim", "VictimsHold"),
}
"""The world in which a protocol without the rule breaks, and the first invariant to go."""


@pytest.mark.parametrize("name", WORLDS)
def test_every_state_of_a_small_world_is_safe(name: str) -> None:
    found = search(WORLDS[name])
    assert (found.broken, found.trace) == ("", ())
    assert found.states == STATES[name]


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_the_search_finds_what_it_prevents(rule: str) -> None:
    name, invariant = CAUGHT[rule]
    found = search(replace(WORLDS[name], rules=Rules(**{rule: False})))
    assert found.broken == invariant, found.trace


@pytest.mark.skipif(os.environ.get("URSA_CLAIMS_SEARCH") != "large", reason="URSA_CLAIMS_SEARCH is not large")
@pytest.mark.parametrize("name", LARGE_WORLDS)
def test_every_state_of_a_larger_world_is_safe(name: str) -> None:
    found = search(LARGE_WORLDS[name])
    print(f"{name}: {found.states} states, {found.transitions} moves")
    assert (found.broken, found.trace) == ("", ())
