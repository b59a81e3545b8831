"""One answer for a heavy library that is not installed: the command that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgeinspect.errors import DriverMissing


def need(module: str, *, extra: str = "tools") -> ModuleType:
    """Import ``module``. Raises DriverMissing with the one install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DriverMissing(
            f"{module.partition('.')[0]} is not installed.",
            next_action=f'Run: pip install "edgeinspect[{extra}]"',
        ) from error
