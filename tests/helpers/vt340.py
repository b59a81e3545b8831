"""A terminal that draws sixels in the colours of a VT340."""

from __future__ import annotations

VT340 = b"\x1b[?63;1;2;4;6;9;15;16;22;28c"


VT340_COLORS = b"\x1b[?1;0;1024S" + VT340
