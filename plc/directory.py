"""Who is who behind this root: `GET /.well-known/planetlab`, from what enrolled services announced, or from a file."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select, update

from models.plc import service
from plc.client.values import PLC
from trust.errors import Code, Refusal
from trust.identity import Identity, Role


def announce(connection: Connection, identity: Identity, url: str, now: datetime) -> None:
    """Enter where a service answers; only at an address it is enrolled with. Raises Refusal BAD_INPUT, NOT_FOUND."""
    host = _host(url)
    mine = (service.c.role == identity.role) & (service.c.name == identity.name)
    addresses = connection.scalar(select(service.c.addresses).where(mine))
    if addresses is None:
        raise Refusal(Code.NOT_FOUND, f"{identity} is not enrolled; get a token with dslice plc token")
    if host not in addresses:
        raise Refusal(Code.BAD_INPUT, f"{identity} is enrolled at {', '.join(addresses)}, not at {host}")
    connection.execute(update(service).where(mine).values(url=url, announced_at=now))


def announced(connection: Connection) -> dict[str, Any]:
    """`svmd`, `svm` and `agents` of the directory: agents by name; of several svms the one that announced last."""
    rows = connection.execute(
        select(service).where(service.c.url.is_not(None)).order_by(service.c.announced_at.desc(), service.c.name)
    ).all()
    agents = [{"name": row.name, "url": row.url} for row in rows if row.role == Role.AGENT]
    svm = next((row for row in rows if row.role == Role.SVM), None)
    return {
        "svmd": svm.url if svm else None,
        "svm": Identity(Role.SVM, svm.name).uri if svm else None,
        "agents": sorted(agents, key=lambda agent: str(agent["name"])),
    }


def from_file(path: Path) -> dict[str, Any]:
    """The operator's own directory: `{"svmd": URL, "svm": NAME, "agents": [{"name": NAME, "url": URL}]}`."""
    try:
        written = json.loads(path.read_text())
        agents = [{"name": agent["name"], "url": agent["url"]} for agent in written["agents"]]
        for url in [written["svmd"], *(agent["url"] for agent in agents)]:
            _host(url)
        return {"svmd": written["svmd"], "svm": Identity(Role.SVM, written["svm"]).uri, "agents": agents}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(Code.BAD_INPUT, f"{path} is not a directory of svmd, svm and agents: {error!r}") from error


def whole(entries: Mapping[str, Any], ca_pem: str, ca_fingerprint: str) -> dict[str, Any]:
    """The body of `GET /.well-known/planetlab`; the root itself is in it for those who compare its fingerprint."""
    return {"plc": PLC.uri, "ca": ca_pem, "ca_fingerprint": ca_fingerprint, **entries}


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and parts.path in ("", "/") and not (parts.query or parts.fragment)
        host, port = parts.hostname, parts.port
    except ValueError:
        plain, host, port = False, None, None
    if not plain or not host or port is None or "@" in parts.netloc:
        raise Refusal(Code.BAD_INPUT, f"{url[:80]!a} is not an address like https://HOST:PORT")
    return host
