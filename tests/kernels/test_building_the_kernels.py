"""The library is built where there is a compiler, and does without where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def built(folder: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    """Run setup.py on a copy of the sources, far from the library that may lie beside ours."""
    pytest.importorskip("setuptools.command.bdist_wheel")
    (folder / "weigh" / "kernels").mkdir(parents=True)
    shutil.copy(ROOT / "setup.py", folder)
    for source in (ROOT / "weigh" / "kernels").glob("*.[chp]*"):
        if source.suffix in (".c", ".h", ".py"):
            shutil.copy(source, folder / "weigh" / "kernels")
    shutil.copy(ROOT / "weigh" / "__init__.py", folder / "weigh")
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, list((folder / "weigh" / "kernels").glob("_kernels.*"))


def used(folder: Path) -> str:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from weigh import kernels; print(kernels.implementation())"
    # The sources of the package's other rooms are not there; the kernels need none of them.
    (folder / "weigh" / "__init__.py").write_text("")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "WEIGH_KERNELS")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler of Windows is not chosen by CC")
def test_without_a_compiler_the_build_succeeds_and_numpy_is_used(tmp_path: Path) -> None:
    done, libraries = built(tmp_path, CC="false")
    assert done.returncode == 0, done.stderr
    assert libraries == []
    assert used(tmp_path) == "numpy"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler here")
def test_with_a_compiler_there_is_one_library_for_every_python(tmp_path: Path) -> None:
    done, libraries = built(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr
    assert [path.stem for path in libraries] == ["_kernels"]
    assert used(tmp_path) == "c"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler here")
@pytest.mark.parametrize("options", [["-DCLONED=", "-DWITHOUT_AVX512"], ["-O1", "-DCLONED=", "-fsanitize=undefined"]])
def test_the_sources_are_plain_c(options: list[str], tmp_path: Path) -> None:
    """Compiled without the extensions of one compiler, as elsewhere."""
    sources = sorted(str(path) for path in (ROOT / "weigh" / "kernels").glob("*.c"))
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", *options, *sources]
    done = subprocess.run([*command, "-o", str(tmp_path / "k.so")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
