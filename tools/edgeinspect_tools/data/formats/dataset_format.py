"""What a dataset format is: how to recognise it and how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeinspect_tools.data.dataset import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFormat:
    """One dataset format.

    Attributes:
        name: in ``name:path``, in the manifest and in reports.
        description: completes the sentence "A data set is ..."; for help and errors.
        recognises: whether an existing file or folder has this format.
        read: reads it without decoding a picture. Takes the path and, in lower case, the name
            that the data set has for the good class; "" means good or ok. Raises ConfigError,
            which names file, line, key, value and what was expected.
        lists_defects_only: its labels name defects and never the good class.
        aligned_references: its makers aligned each reference with its picture.
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str], Source]
    lists_defects_only: bool = False
    aligned_references: bool = False
