"""A sheet and a file system to take apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

MOUNT_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
Build = Callable[[dict[str, str]], Path]


@pytest.fixture
def sheet() -> str:
    """The text of a device's file, with two sources."""
    return """
name = "Example X1"
vendor = "Example"
class = "edge"
aliases = ["x1", "example"]
unified_memory = true
[figures]
memory_bytes = { value = 8_589_934_592, says = "8GB LPDDR5", source = "datasheet" }
memory_bandwidth = { value = 1.02e11, says = "102 GB/s", source = "datasheet" }
[figures.peak]
int8 = { value = 6.7e13, says = "67 TOPS", source = "page" }
[sources.datasheet]
url = "https://example.com/x1.pdf"
title = "X1 datasheet"
read = 2026-01-31
published = 2025-06-01
[sources.page]
url = "https://example.com/x1"
read = 2026-02-01
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write files by name below a folder that stands for the root of a machine."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


@pytest.fixture
def grouped(build: Build) -> Callable[[str, dict[str, str]], Path]:
    """The same for a process in a control group of version 2."""

    def write(group: str, files: dict[str, str]) -> Path:
        return build({"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": MOUNT_V2} | files)

    return write
