"""setuptools glue: compiles the plugin into the package (see build_plugin.py) and tags the wheel with its platform."""

import os
import sys
from pathlib import Path

from setuptools import setup  # type: ignore[import-untyped]
from setuptools.command.bdist_wheel import bdist_wheel  # type: ignore[import-untyped]
from setuptools.command.build_py import build_py  # type: ignore[import-untyped]
from setuptools.dist import Distribution  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build_plugin  # type: ignore[import-not-found]  # noqa: E402

PLAN = build_plugin.Plan.from_environment(os.environ)


class BuildPackage(build_py):
    """Copies the Python files, then puts both shared libraries beside them."""

    def run(self) -> None:
        super().run()
        build_plugin.compile_plugin(PLAN, Path(self.build_lib) / "duomem_vulkan")


class BinaryDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", PLAN.wheel_platform


setup(cmdclass={"build_py": BuildPackage, "bdist_wheel": PlatformWheel}, distclass=BinaryDistribution)
