"""Changing one value of a YAML file that people write, and leaving every other character."""

from __future__ import annotations

from typing import Any

import yaml


def replace_value(text: str, key_path: tuple[str, ...], value: str) -> str:
    """The text with another plain value at this key, which must be there.

    Args:
        text: the text of a YAML file.
        key_path: the keys from the outermost to the innermost.
        value: letters, digits, ``-``, ``_`` or ``.``, so that it needs no quotes.
    """
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in key_path:
        node = next(child for name, child in node.value if name.value == key)
    return f"{text[: node.start_mark.index]}{value}{text[node.end_mark.index :]}"
