"""What control groups allow, read from folders made as Linux, Docker and SLURM have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mask2former import shares
from mask2former.shares import allowed_cores, left_memory


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of made control groups, in which this process is in the group `/job/step`."""
    monkeypatch.setattr(shares, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(shares, "MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "membership").write_text("0::/job/step\n")
    (tmp_path / "cgroup/job/step").mkdir(parents=True)
    return tmp_path / "cgroup"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_nothing_is_limited_where_no_file_says_so(groups: Path) -> None:
    assert allowed_cores() is None
    assert left_memory() is None
    write(groups / "job", cpu__max="max 100000", memory__max="max", memory__current="5")
    assert allowed_cores() is None
    assert left_memory() is None
    (groups.parent / "membership").unlink()  # no Linux
    assert allowed_cores() is None
    assert left_memory() is None


@pytest.mark.parametrize(("said", "cores"), [("200000 100000", 2), ("150000 100000", 2)])
def test_quota_is_rounded_up_to_cores(groups: Path, said: str, cores: int) -> None:
    write(groups, cpu__max=said)
    assert allowed_cores() == cores


def test_smallest_quota_above_counts(groups: Path) -> None:
    write(groups / "job/step", cpu__max="max 100000")
    write(groups / "job", cpu__max="400000 100000")
    write(groups, cpu__max="800000 100000")
    assert allowed_cores() == 4


def test_old_groups_have_a_folder_for_each_kind(groups: Path) -> None:
    """Version 1 in Docker: the path is the one that is seen from outside, and is not there."""
    (groups.parent / "membership").write_text("4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/")
    write(groups / "cpu", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    write(
        groups / "memory",
        memory__limit_in_bytes="10000",
        memory__usage_in_bytes="5000",
        memory__stat="total_inactive_file 1500\ntotal_active_file 500",
    )
    assert allowed_cores() == 3
    assert left_memory() == 7000
    write(groups / "cpu", cpu__cfs_quota_us="-1")
    assert allowed_cores() is None


def test_group_outside_of_the_own_name_space_is_the_root(groups: Path) -> None:
    (groups.parent / "membership").write_text("0::/../../other\n")
    write(groups, cpu__max="100000 100000")
    assert allowed_cores() == 1


def test_caches_are_free_memory(groups: Path) -> None:
    write(
        groups / "job",
        memory__max="10000",
        memory__current="5000",
        memory__stat="anon 1000\nfile 1900\ninactive_file 1500\nactive_file 500\nslab 7",
    )
    assert left_memory() == 7000
    write(groups / "job", memory__max="2000")
    assert left_memory() == 0
