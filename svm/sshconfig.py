"""A slice's nodes for the user's own OpenSSH client: Host entries with pinned host keys.

The keys come from svmd, which has them from the nodes' advertisements; nobody writes known_hosts by hand and nobody is
asked whether to trust a key. What svmd says is checked again before it becomes a line of a file that ssh obeys.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svm.files import slice_folder, write_private
from trust.errors import Code, Refusal
from trust.names import check_slice_name

CONFIG = "ssh_config"
KNOWN_HOSTS = "known_hosts"

_HOST_KEY = re.compile(r"([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{16,8192}={0,2})")
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Host:
    """One running sliver as ssh knows it: `node` the IP, `name` the node's name, `address`:`port` its front door."""

    node: str
    name: str
    address: str
    port: int
    host_key: str


def hosts(details: Mapping[str, Any]) -> list[Host]:
    """The running slivers of a slice (body of `GET /slices/{slice}`) that can be logged in to."""
    return [_host(sliver) for sliver in details["slivers"] if sliver["state"] == "running" and sliver["frontdoor"]]


def find(details: Mapping[str, Any], slice_name: str, word: str) -> Host:
    """The host that `word` names: IP, node name or alias. Raises Refusal(NOT_FOUND)."""
    for host in hosts(details):
        if word in (host.node, host.name, alias(slice_name, host)):
            return host
    for sliver in details["slivers"]:
        if sliver["state"] == "stopped" and word in (sliver["node"], sliver["name"], f"{slice_name}.{sliver['name']}"):
            cure = f"svm start {slice_name} {sliver['node']} starts it"
            raise Refusal(Code.NOT_FOUND, f"the VM of {slice_name} on {word[:60]} is stopped: {cure}")
    raise Refusal(
        Code.NOT_FOUND, f"{word[:60]} is not a node with a running VM of {slice_name}; see: svm nodelist {slice_name}"
    )


def alias(slice_name: str, host: Host) -> str:
    """A name of the host that is this slice's alone, for configurations that include several slices."""
    return f"{slice_name}.{host.name}"


def config_text(slice_name: str, found: Iterable[Host], known_hosts: Path) -> str:
    """The ssh_config: one Host entry a node."""
    check_slice_name(slice_name)
    lines = [f"# Slice {slice_name}: written by svm, replaced each time."]
    for host in found:
        lines += [
            "",
            f"Host {host.node} {alias(slice_name, host)}",
            f"    HostName {host.address}",
            f"    Port {host.port}",
            f"    User {slice_name}",
            f"    HostKeyAlias {host.node}",
            f"    UserKnownHostsFile {_quoted(known_hosts)}",
            "    GlobalKnownHostsFile /dev/null",
            "    StrictHostKeyChecking yes",
            "    CheckHostIP no",
            "    UpdateHostKeys no",
            "    PasswordAuthentication no",
        ]
    return "\n".join(lines) + "\n"


def known_hosts_text(found: Iterable[Host]) -> str:
    """The known_hosts file: one line a node, under its IP (HostKeyAlias)."""
    return "".join(f"{host.node} {host.host_key}\n" for host in found)


def write(directory: Path, slice_name: str, found: list[Host]) -> Path:
    """Write both files below the key directory; returns the path of the ssh_config."""
    folder = slice_folder(directory.absolute(), check_slice_name(slice_name))
    write_private(folder / KNOWN_HOSTS, known_hosts_text(found))
    write_private(folder / CONFIG, config_text(slice_name, found, folder / KNOWN_HOSTS))
    return folder / CONFIG


def _host(sliver: Mapping[str, Any]) -> Host:
    door = sliver["frontdoor"]
    try:
        node, address = (str(ipaddress.ip_address(str(text))) for text in (sliver["node"], door["address"]))
        port = int(door["port"])
    except (ValueError, KeyError) as error:
        raise _senseless() from error
    key = _HOST_KEY.match(str(door["host_key"]))
    name = str(sliver["name"])
    if key is None or not 0 < port < 65_536 or not _NODE_NAME.fullmatch(name):
        raise _senseless()
    return Host(node, name, address, port, f"{key[1]} {key[2]}")


def _quoted(path: Path) -> str:
    text = str(path)
    if '"' in text or "\n" in text:
        raise Refusal(Code.BAD_INPUT, "the key directory's path has a quote or newline in it; ssh cannot use it")
    return '"' + text.replace("%", "%%") + '"'


def _senseless() -> Refusal:
    return Refusal(Code.INTERNAL, "svmd's answer about a front door makes no sense; update svm, or tell its operator")
