"""Who is at the keyboard."""

from __future__ import annotations

import os
import pwd


def login_name() -> str:
    """The name that logged in on this terminal, also behind sudo; else the process's user."""
    try:
        return os.getlogin()
    except OSError:
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
