"""What pyproject.toml cannot say: the reference policies travel in a wheel, as aihf_control/policies/."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class WithPolicies(build_py):
    """The modules, and the policies."""

    def run(self) -> None:
        """An editable installation has them in its checkout."""
        super().run()
        if not self.editable_mode:
            copytree("data/policies", Path(self.build_lib, "aihf_control", "policies"), dirs_exist_ok=True)


setup(cmdclass={"build_py": WithPolicies})
