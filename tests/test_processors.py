"""The number of processors that this process may use."""

from __future__ import annotations

import os

import pytest

from seqgen.processors import process_cpu_count


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity masks")
def test_process_cpu_count_with_an_affinity_mask_returns_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert process_cpu_count() == 2


def test_process_cpu_count_without_affinity_masks_returns_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert process_cpu_count() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process_cpu_count() == 1
