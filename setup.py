"""Builds the kernels into one library that serves every Python: no suffix of an interpreter, no module of Python's.

Everything else is in pyproject.toml. Without a compiler the installation succeeds and `weigh/kernels` uses NumPy.
"""

from __future__ import annotations

import sys

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NAME = "weigh.kernels._kernels"
SOURCES = [f"weigh/kernels/{name}.c" for name in ("blocks", "difference", "planes", "weights")]
HEADERS = [f"weigh/kernels/{name}.h" for name in ("kernels", "floats", "weights", "weights_avx512", "weights_plain")]
HEADERS += [f"weigh/kernels/weights_{name}.h" for name in ("scales", "scan", "tiles")]
GNU = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fvisibility=hidden"]
MICROSOFT = ["/O2", "/fp:precise"]


class BuildLibrary(build_ext):
    """A plain shared library where setuptools would make an extension module."""

    def get_ext_filename(self, fullname: str) -> str:
        """`_kernels.so` (`.dll` on Windows) instead of `_kernels.cpython-311-x86_64-linux-gnu.so`."""
        return fullname.replace(".", "/") + (".dll" if sys.platform == "win32" else ".so")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """None: the sources mark what they export, and there is no `PyInit_` to export."""
        return ext.export_symbols

    def build_extension(self, ext: Extension) -> None:
        """Choose the options by compiler."""
        ext.extra_compile_args = MICROSOFT if self.compiler.compiler_type == "msvc" else GNU
        super().build_extension(ext)


class AnyPythonWheel(bdist_wheel):
    """A wheel for one platform and every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Say so in its name."""
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[Extension(NAME, SOURCES, depends=HEADERS, optional=True)],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": AnyPythonWheel},
)
