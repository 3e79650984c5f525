"""Build the wheel `pats-optim`: three packages of `module/`, as `pats`; all else stands in pyproject.toml."""

from __future__ import annotations

from setuptools import setup
from setuptools.command.build_py import build_py


class OptimizersOnly(build_py):
    """Leaves out the other files of `module/`: encoder and heads belong to the toolkit and need transformers."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return (package, module, file) of what is packed."""
        modules: list[tuple[str, str, str]] = super().find_package_modules(package, package_dir)
        return [one for one in modules if package != "pats" or one[1] == "__init__"]


if __name__ == "__main__":  # what a build runs it as
    setup(cmdclass={"build_py": OptimizersOnly})
