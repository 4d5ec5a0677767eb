"""A user's nodes for other programs: Ansible's inventories, Prometheus' targets. Pure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from svm.sshconfig import Host, alias

Found = Mapping[str, tuple[Path, list[Host]]]
"""By slice: its ssh_config, and the nodes that can be logged in to."""


def of_slice(name: str, config: Path, hosts: Iterable[Host]) -> dict[str, Any]:
    """A file for `ansible -i FILE`: one group, each node under its address."""
    return {name: {"hosts": {host.node: variables(name, config, host) for host in hosts}}}


def listed(found: Found) -> dict[str, Any]:
    """What Ansible asks a program for with --list: a group for each slice; a node of several slices is in each as
    another host, named `SLICE.NODE` as in the ssh_config."""
    hostvars = {
        alias(name, host): variables(name, config, host) for name, (config, hosts) in found.items() for host in hosts
    }
    groups = {name: {"hosts": [alias(name, host) for host in hosts]} for name, (_, hosts) in found.items()}
    return {"_meta": {"hostvars": hostvars}, "all": {"children": list(found)}, **groups}


def variables(name: str, config: Path, host: Host) -> dict[str, Any]:
    """How Ansible reaches a node, by the entry of the ssh_config, which pins its host key."""
    return {
        "ansible_host": host.node,
        "ansible_port": host.port,
        "ansible_user": name,
        "ansible_ssh_common_args": f'-F "{config}"',
    }


def targets(found: Found, port: int) -> list[dict[str, Any]]:
    """As Prometheus reads them (http_sd, file_sd): `port` of each node, with slice and node as labels."""
    return [
        {"targets": [_address(host.node, port)], "labels": {"slice": name, "node": host.name}}
        for name, (_, hosts) in found.items()
        for host in hosts
    ]


def _address(node: str, port: int) -> str:
    return f"[{node}]:{port}" if ":" in node else f"{node}:{port}"
