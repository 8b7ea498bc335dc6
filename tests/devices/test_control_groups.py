"""Limits of control groups, in file systems built for the purpose."""

from pathlib import Path

import pytest

from weigh.devices import control_groups
from weigh.devices.control_groups import parse_bytes, parse_membership, parse_mounts, parse_quota, read_limits

MOUNT_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
)
GIB = 2**30
NO_LIMIT_V1 = "9223372036854771712\n"


@pytest.mark.parametrize("text", ["", "lots", "-1", "12 GB", "0x10", "1e9", "9" * 30])
def test_garbage_in_a_limit_is_left_out_with_a_warning(text: str, grouped) -> None:
    root = grouped("/a", {"sys/fs/cgroup/a/memory.max": text, "sys/fs/cgroup/a/cpu.max": text})
    limits = read_limits(root)
    assert limits.memory is None
    assert limits.cores is None
    assert any("memory.max" in warning for warning in limits.warnings)
    assert any("quota" in warning for warning in limits.warnings)


def test_a_limit_that_may_not_be_read_is_a_warning(monkeypatch: pytest.MonkeyPatch, grouped) -> None:
    root = grouped("/a", {"sys/fs/cgroup/a/memory.max": str(GIB)})
    read = Path.read_text

    def refuse(path: Path, *args: str, **options: str) -> str:
        if path.name == "memory.max":
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **options)

    monkeypatch.setattr(control_groups.Path, "read_text", refuse)
    limits = read_limits(root)
    assert limits.memory is None
    assert any("Permission denied" in warning for warning in limits.warnings)


def test_a_machine_without_control_groups_has_no_limits_and_no_warnings(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == control_groups.Limits()


def test_garbage_in_proc_is_no_limit(build) -> None:
    root = build({"proc/self/cgroup": "nonsense\n::\n1\n", "proc/self/mountinfo": "- cgroup2\n - \n1 2 3\n"})
    assert read_limits(root).memory is None


def test_max_is_no_limit(grouped) -> None:
    root = grouped("/a", {"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"})
    limits = read_limits(root)
    assert (limits.memory, limits.headroom, limits.cores, limits.warnings) == (None, None, None, ())


def test_the_tightest_limit_of_the_chain_binds_and_is_named(grouped) -> None:
    root = grouped(
        "/user.slice/app/job",
        {
            "sys/fs/cgroup/user.slice/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/user.slice/memory.current": f"{1 * GIB}\n",
            "sys/fs/cgroup/user.slice/app/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/user.slice/app/memory.current": f"{1 * GIB}\n",
            "sys/fs/cgroup/user.slice/app/job/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/user.slice/app/job/cpu.max": "400000 100000\n",
        },
    )
    limits = read_limits(root)
    assert limits.memory == 2 * GIB
    assert limits.memory_by == "/sys/fs/cgroup/user.slice/app/memory.max"
    assert limits.headroom == 1 * GIB
    assert limits.cores == 1.5


def test_a_wide_parent_that_is_nearly_full_leaves_less_than_a_narrow_child(grouped) -> None:
    root = grouped(
        "/a/b",
        {
            "sys/fs/cgroup/a/memory.max": f"{8 * GIB}",
            "sys/fs/cgroup/a/memory.current": f"{7 * GIB + GIB // 2}",
            "sys/fs/cgroup/a/b/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/a/b/memory.current": "0",
        },
    )
    limits = read_limits(root)
    assert limits.memory == 2 * GIB
    assert limits.headroom == GIB // 2


def test_file_cache_that_the_kernel_gives_back_counts_as_free(grouped) -> None:
    root = grouped(
        "/a",
        {
            "sys/fs/cgroup/a/memory.max": f"{4 * GIB}",
            "sys/fs/cgroup/a/memory.current": f"{3 * GIB}",
            "sys/fs/cgroup/a/memory.stat": f"anon {GIB}\nfile {2 * GIB}\ninactive_file {2 * GIB}\nbroken line here\n",
        },
    )
    assert read_limits(root).headroom == 3 * GIB


def test_a_group_over_its_limit_has_no_room_and_not_less(grouped) -> None:
    files = {"sys/fs/cgroup/a/memory.max": "100", "sys/fs/cgroup/a/memory.current": "300"}
    assert read_limits(grouped("/a", files)).headroom == 0


def test_inside_a_container_the_mount_point_is_the_group(grouped) -> None:
    root = grouped("/../../system.slice", {"sys/fs/cgroup/memory.max": f"{GIB}"})
    limits = read_limits(root)
    assert (limits.memory, limits.memory_by) == (GIB, "/sys/fs/cgroup/memory.max")


def test_version_1_reads_its_own_files(build) -> None:
    group = "sys/fs/cgroup/memory/docker/abc"
    root = build(
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
            "proc/self/mountinfo": MOUNTS_V1,
            f"{group}/memory.limit_in_bytes": f"{4 * GIB}\n",
            f"{group}/memory.usage_in_bytes": f"{2 * GIB}\n",
            f"{group}/memory.stat": f"cache 5\ntotal_inactive_file {GIB}\nhierarchical_memory_limit {4 * GIB}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    limits = read_limits(root)
    assert limits.memory == 4 * GIB
    assert limits.memory_by == "/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes"
    assert limits.headroom == 3 * GIB
    assert limits.cores == 2.5
    assert limits.warnings == ()


def test_version_1_tells_the_limit_of_parents_that_are_not_mounted(build) -> None:
    mount = "35 31 0:32 /kubepods/pod1/c1 /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\n"
    root = build(
        {
            "proc/self/cgroup": "4:memory:/kubepods/pod1/c1\n",
            "proc/self/mountinfo": mount,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
            "sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {GIB}\n",
        },
    )
    limits = read_limits(root)
    assert (limits.memory, limits.memory_by) == (GIB, "/sys/fs/cgroup/memory/memory.stat")


def test_the_text_of_the_kernel_is_understood() -> None:
    assert parse_membership("12:cpu,cpuacct:/a\n0::/b:c\n") == {"cpu": "/a", "cpuacct": "/a", "": "/b:c"}
    assert [mount.point for mount in parse_mounts(MOUNTS_V1)] == ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"]
    assert parse_mounts(MOUNT_V2.replace("/sys/fs/cgroup ", "/my\\040groups "))[0].point == "/my groups"
    assert parse_bytes("max\n") is None
    assert parse_bytes("4096\n") == 4096
    assert parse_bytes(NO_LIMIT_V1) is None
    assert parse_quota("max 100000\n") is None
    assert parse_quota("50000 100000\n") == 0.5
