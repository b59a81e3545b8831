"""Imports a heavy library, or names the command that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgeinspect.errors import DriverMissing


def need(module: str) -> ModuleType:
    """Import and return ``module``. Raises DriverMissing with the install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise not_installed(module) from error


def not_installed(module: str) -> DriverMissing:
    """The error for a library of the tools that is not installed."""
    package = module.partition(".")[0]
    return DriverMissing(
        f"{package} is not installed.", next_action="Run: pip install edgeinspect-tools"
    )
