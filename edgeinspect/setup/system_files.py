"""What a ``station.conf`` means to the operating system: files below ``/etc``, and nothing else.

Made for systemd-networkd, systemd-timesyncd, wpa_supplicant and OpenSSH, as the image has them.
The root file system forgets, so these are kept on the data partition and copied at every boot.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edgeinspect.setup.station_conf import Ethernet, StationConf, Wifi

LOGIN = "technician"
KEYS_FILE = f"ssh/authorized_keys.d/{LOGIN}"


@dataclass(frozen=True, slots=True)
class SystemFile:
    """One file of the system.

    Attributes:
        path: below ``/etc``.
        mode: its permissions.
        content: what to write.
    """

    path: str
    text: str
    mode: int = 0o644


def system_files(conf: StationConf, *, kept_wifi: str | None = None) -> list[SystemFile]:
    """Return every file that the configuration needs, in a fixed order.

    Args:
        conf: the configuration.
        kept_wifi: the wpa_supplicant file of an earlier import, for a passphrase that is no longer
            in ``station.conf``.
    """
    files = [
        SystemFile("hostname", f"{conf.hostname}\n"),
        SystemFile("hosts", _hosts(conf.hostname)),
        SystemFile("timezone", f"{conf.time_zone}\n"),
        SystemFile(KEYS_FILE, "".join(f"{k}\n" for k in conf.ssh_keys)),
        SystemFile("systemd/network/20-ethernet.network", _ethernet(conf.network.ethernet)),
    ]
    if conf.time_servers:
        servers = " ".join(conf.time_servers)
        text = f"[Time]\nNTP={servers}\nFallbackNTP=\n"
        files.append(SystemFile("systemd/timesyncd.conf.d/station.conf", text))
    hold = conf.reject_until_set_up
    if hold is not None:
        text = f"{hold.chip}\n{hold.line}\n{hold.rejects_at.value}\n"
        files.append(SystemFile("edgeinspect/hold-reject", text))
    wifi = conf.network.wifi
    if wifi is not None:
        supplicant = kept_wifi if kept_wifi is not None else _supplicant(wifi)
        files.append(SystemFile("systemd/network/30-wifi.network", _WIFI_NETWORK))
        files.append(SystemFile(WIFI_FILE, supplicant, mode=0o600))
    return files


WIFI_FILE = "wpa_supplicant/wpa_supplicant-wlan0.conf"


def wifi_psk(ssid: str, passphrase: str) -> str:
    """The pairwise key in hexadecimal (IEEE 802.11i, annex M.4: PBKDF2-SHA1, 4096 rounds)."""
    if len(passphrase) == 64:
        return passphrase.lower()
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode(), ssid.encode(), 4096, dklen=32).hex()


def _hosts(hostname: str) -> str:
    return f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost\n"


def _ethernet(ethernet: Ethernet) -> str:
    lines = ["[Match]", "Type=ether", "", "[Network]"]
    if ethernet.address is None:
        # link-local as well, so that a PC plugged in directly reaches the station by its name
        lines += ["DHCP=yes", "LinkLocalAddressing=yes"]
    else:
        lines.append(f"Address={ethernet.address}")
        if ethernet.gateway is not None:
            lines.append(f"Gateway={ethernet.gateway}")
        lines += [f"DNS={server}" for server in ethernet.dns]
    return "\n".join(lines) + "\n"


_WIFI_NETWORK = "[Match]\nType=wlan\n\n[Network]\nDHCP=yes\n"


def _supplicant(wifi: Wifi) -> str:
    # the SSID in hexadecimal: wpa_supplicant's quoted form has no escape for a quote
    return (
        f"country={wifi.country}\n"
        "network={\n"
        f"\tssid={wifi.ssid.encode().hex()}\n"
        "\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n"
        f"\tpsk={wifi_psk(wifi.ssid, wifi.passphrase)}\n"
        "}\n"
    )


def supplicant_ssid(text: str) -> str | None:
    """The SSID in a file that ``system_files`` made; None if it names none."""
    for line in text.splitlines():
        name, _, value = line.strip().partition("=")
        if name == "ssid":
            return bytes.fromhex(value).decode()
    return None
