"""Options that several commands share."""

from __future__ import annotations

import click

good_option = click.option(
    "--good",
    default="",
    metavar="NAME",
    help="Name of the good class in the data set, if it is not good or ok.",
)
group_pattern_option = click.option(
    "--group-pattern",
    default="",
    metavar="REGEX",
    help="Pictures show the same part if this matches the same text in their paths.",
)
licence_option = click.option(
    "--licence", default="proprietary", show_default=True, help="Licence of the weights."
)
attribution_option = click.option(
    "--attribution", default="", help="Credit to the owners of the pictures and weights."
)
accept_gap_option = click.option(
    "--accept-gap",
    is_flag=True,
    help="Write the model even if int8 strays too far from float; its card says so.",
)
replace_option = click.option("--replace", is_flag=True, help="Replace an existing bundle.")
