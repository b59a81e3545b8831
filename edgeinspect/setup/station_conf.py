"""``station.conf``: the one text file that sets a flashed station up. People write it on a PC.

It lies on the card's FAT partition, which every PC can read, together with the files that it
names. ``docs/reference/station-conf.md`` lists every key.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import zoneinfo
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Found, Rule
from edgeinspect.files.yaml_file import YamlFile, validate
from edgeinspect.settings.base import FormatOne, Label, Section
from edgeinspect.settings.wiring import Active, LineName, LineNumber

CONF_FILE = "station.conf"
LOG_FILE = "station.log"
IMPORTED = "imported"
"""Stands in ``station.conf`` where a secret was, once the station has taken it."""
PASSPHRASE = "8 to 63 printable ASCII characters, in quotes if they are only digits"

_KEY_TYPES = re.compile(
    r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)"
    r"@openssh\.com"
)
_DOMAIN = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def _check_ssh_key(text: str) -> str:
    """One line of an OpenSSH ``*.pub`` file without options (sshd(8), AUTHORIZED_KEYS)."""
    fields = text.split(None, 2)
    expected = "one line of a .pub file, e.g. ssh-ed25519 AAAA… name"
    if "PRIVATE KEY" in text:
        raise ValueError(f"{expected}; this is a private key, which must stay secret")
    if len(fields) < 2 or _KEY_TYPES.fullmatch(fields[0]) is None:
        raise ValueError(expected)
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except binascii.Error:
        raise ValueError(f"{expected}; its middle part is truncated or changed") from None
    # RFC 4253, section 6.6: the blob begins with the type, a length of four bytes before it.
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != fields[0].encode() or len(blob) < 4 + length + 32:
        raise ValueError(f"{expected}; its middle part is truncated or changed")
    return text


def _check_address(text: str) -> str:
    try:
        network = ipaddress.ip_interface(text)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        raise ValueError("an address with its prefix length, e.g. 192.168.1.20/24")
    return text


def _check_host(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if re.fullmatch(rf"{_DOMAIN}(\.{_DOMAIN})*", text) is None or len(text) > 253:
            raise ValueError("an IP address or a host name") from None
    return text


def _check_ip(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("an IP address, e.g. 192.168.1.1") from None
    return text


def _check_time_zone(text: str) -> str:
    if text not in (zoneinfo.available_timezones() or {"UTC"}):
        raise ValueError("a time zone's name, e.g. Europe/Berlin or UTC")
    return text


def _check_file_name(text: str) -> str:
    if text != text.strip() or "/" in text or "\\" in text or text in (".", ".."):
        raise ValueError("the name of a file or folder beside station.conf, without a path")
    return text


def _check_passphrase(text: str) -> str:
    # IEEE 802.11i: 8 to 63 printable ASCII characters, or 64 hexadecimal digits.
    if re.fullmatch(r"[ -~]{8,63}|[0-9a-fA-F]{64}", text) is None:
        raise ValueError(PASSPHRASE)
    return text


HostName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    Field(description="1 to 63 lower-case letters, digits or -, without - at either end"),
]
SshKey = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,4096}$"), AfterValidator(_check_ssh_key)
]
Address = Annotated[str, AfterValidator(_check_address)]
Ip = Annotated[str, AfterValidator(_check_ip)]
Host = Annotated[str, AfterValidator(_check_host)]
FileName = Annotated[Label, AfterValidator(_check_file_name)]
Country = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}$"),
    Field(description="two capital letters, e.g. DE, because radio rules differ by country"),
]


class Ethernet(Section):
    """The wired network. Without ``address`` the network gives one (DHCP).

    Attributes:
        address: with its prefix length.
        gateway, dns: only together with ``address``.
    """

    address: Address | None = None
    gateway: Ip | None = None
    dns: tuple[Ip, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _check_static(self) -> Self:
        if self.address is None and self.gateway is not None:
            raise Rule("gateway", value=self.gateway, expected="no gateway without an address")
        if self.address is None and self.dns:
            raise Rule("dns", value=list(self.dns), expected="no dns without an address")
        return self


class Wifi(Section):
    """The wireless network.

    Attributes:
        passphrase: read from the file once and then replaced there by ``imported``.
    """

    ssid: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,32}$")]
    passphrase: Annotated[
        str, AfterValidator(_check_passphrase), Field(repr=False, description=PASSPHRASE)
    ]
    country: Country

    @model_validator(mode="after")
    def _check_ssid(self) -> Self:
        if len(self.ssid.encode()) > 32:
            raise Rule("ssid", value=self.ssid, expected="at most 32 bytes")
        return self


class Network(Section):
    """The station's network.

    Attributes:
        ethernet: DHCP by default.
        wifi: None leaves the radio off.
    """

    ethernet: Ethernet = Ethernet()
    wifi: Wifi | None = None


class RejectOutput(Section):
    """The level that makes the gate reject, held while no station file is in force.

    Attributes:
        chip: label of the GPIO chip, e.g. ``pinctrl-rp1``.
        line: its name or offset.
        rejects_at: the electrical level at which the gate rejects.
    """

    chip: Label
    line: LineNumber | LineName
    rejects_at: Active


class StationConf(Section):
    """The set-up of one station.

    Attributes:
        ssh_keys: who may log in as ``technician``; there is no password.
        time_zone: for people; records are in UTC.
        time_servers: used instead of those that the network names.
        station_file, recipe, bundle, trusted_keys: names of files next to ``station.conf``; a
            bundle is a folder.
        reject_until_set_up: None leaves the line to the hardware's pull, which must reject.
        allow_older: import a bundle older than the one in force, and keys that a newer
            ``station.conf`` left out.
    """

    format: FormatOne
    hostname: HostName
    ssh_keys: tuple[SshKey, ...] = Field(min_length=1, max_length=64)
    network: Network = Network()
    time_zone: Annotated[str, AfterValidator(_check_time_zone)] = "UTC"
    time_servers: tuple[Host, ...] = Field(default=(), max_length=8)
    station_file: FileName | None = None
    recipe: FileName | None = None
    bundle: FileName | None = None
    trusted_keys: tuple[FileName, ...] = Field(default=(), max_length=16)
    reject_until_set_up: RejectOutput | None = None
    allow_older: bool = False

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.station_file is None and self.recipe is not None:
            expected = "no recipe without the station_file that uses it"
            raise Rule("recipe", value=self.recipe, expected=expected)
        return self


def parse_station_conf(yaml_file: YamlFile) -> StationConf:
    """Validate a parsed ``station.conf``. Raises ConfigError, which never shows the passphrase."""
    try:
        return validate(yaml_file, StationConf)
    except ConfigError as error:
        if not error.key.endswith("passphrase"):
            raise
        # without its cause, which quotes the value
        raise ConfigError(
            file=error.file,
            line=error.line,
            key=error.key,
            value=Found("not shown here"),
            expected=error.expected,
            next_action=error.next_action,
        ) from None
