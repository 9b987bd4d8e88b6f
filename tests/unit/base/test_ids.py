"""Random UIDs are version 4 UUIDs in canonical form, and no two are alike."""

from __future__ import annotations

import uuid

from services.base.ids import random_uid, sequential_uids


def test_random_uids_are_canonical_version_4_and_distinct() -> None:
    made = [random_uid() for _ in range(2000)]
    assert len(set(made)) == len(made)
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_every_free_digit_varies() -> None:
    made = [random_uid().replace("-", "") for _ in range(500)]
    counts = [len({text[position] for text in made}) for position in range(32)]
    assert counts[12] == 1 and counts[16] == 4
    assert all(count == 16 for position, count in enumerate(counts) if position not in (12, 16))


def test_sequential_uids_can_be_foreseen() -> None:
    make = sequential_uids()
    assert [make(), make()] == ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
