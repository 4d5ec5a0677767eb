"""What the testbed's plc knows before its first visitor: sites, accounts, certificates, tokens.

Runs in a child of the supervisor's, so that no connection of it stays there; again at each start.
"""

import json
import os
import secrets
from pathlib import Path

from plc.bootstrap import Bootstrap, Person
from plc.enrolment import Enrolment
from plc.settings import Settings
from rpc.files import replace_file
from testbed.addresses import LOOPBACK, NODE_API_PORT
from testbed.daemons import (
    AGENT,
    FLOWER,
    SITES,
    SVM,
    Layout,
    Node,
    real_nodes,
    secret,
    simulated_groups,
    token_file,
    url,
)
from testbed.home import ACCOUNTS, CERTIFIED, NEWCOMER, OPERATOR, OTHER_PI, PI, USER, Home, Plan, write_private
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair


def prepare(layout: Layout) -> None:
    """The CA, accounts and enrolment tokens, through plc's own functions. What is there already stays."""
    os.environ.update(layout.plc().env)
    home = layout.home
    secret(home, FLOWER)
    for spec in (layout.plc(), *layout.others()):
        Path(spec.env["DSLICE_STATE_DIR"]).mkdir(parents=True, exist_ok=True, mode=0o700)
    with Bootstrap.open(Settings.load()) as plc:
        replace_file(home.ca_file, plc.ca_pem.encode(), 0o644)
        replace_file(home.metrics, json.dumps(layout.metrics(), indent=1).encode(), 0o644)
        plc.sites(SITES)
        plc.accounts(_people(home, _passwords(home)))
        for email in ACCOUNTS:
            home.user(email).mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_config(home, layout.plan, email)
        for email in CERTIFIED:
            plc.certify(email, home.user(email))
        _write_tokens(layout, plc)
        _enrol_simulated(layout, plc)


def _passwords(home: Home) -> dict[str, str]:
    path = home.secrets / "passwords.json"
    if not path.exists():
        write_private(path, json.dumps({email: secrets.token_urlsafe(12) for email in (*ACCOUNTS, OPERATOR)}, indent=1))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _write_config(home: Home, plan: Plan, email: str) -> None:
    """Where plc and svmd are, and whom to trust: PLANETLAB_HOME alone is then enough."""
    found = {"plc": url(plan, "plc"), "svmd": url(plan, "svmd"), "ca_file": str(home.ca_file)}
    write_private(home.user(email) / "config.toml", "".join(f"{k} = {json.dumps(v)}\n" for k, v in found.items()))


def _people(home: Home, passwords: dict[str, str]) -> list[Person]:
    """Invented, with all that the howto's `pluserinfo` shows."""

    def contact(street: str, city: str, zip_code: str, state: str, phone: str) -> dict[str, str]:
        return {"address": street, "city": city, "province": state, "zip": zip_code, "country": "US", "phone": phone}

    princeton = contact("1 Example Street", "Princeton", "08544", "NJ", "+1 609 555 0101")
    berkeley = contact("2 Example Avenue", "Berkeley", "94720", "CA", "+1 510 555 0102")
    return [
        Person(PI, passwords[PI], "Lena Example", SITES[0], "Professor", True, False, princeton, _ssh_key(home, PI)),
        Person(OTHER_PI, passwords[OTHER_PI], "Dan Example", SITES[1], "Professor", True, False, berkeley),
        Person(USER, passwords[USER], "Sam Student", SITES[0], "Student", ssh_key=_ssh_key(home, USER)),
        Person(NEWCOMER, passwords[NEWCOMER], "Nora Newcomer", SITES[2], "Lecturer", is_pi=True),
        Person(OPERATOR, passwords[OPERATOR], "Olga Operator", SITES[0], "Operator", is_admin=True),
    ]


def _ssh_key(home: Home, email: str) -> str:
    """The public half of the account's SSH key; the pair is in its folder."""
    private = home.user(email) / "id_ed25519"
    public = private.with_suffix(".pub")
    if not public.exists():
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made, line = new_ssh_key_pair(email)
        write_private(private, made)
        write_private(public, f"{line}\n")
    return public.read_text().strip()


def _write_tokens(layout: Layout, plc: Bootstrap) -> None:
    """A token for every service and real node; who is enrolled already does not look at it."""
    enrolments = {
        "agent": Enrolment(Identity(Role.AGENT, AGENT), (LOOPBACK,)),
        "svmd": Enrolment(Identity(Role.SVM, SVM), (LOOPBACK,)),
        **{node.name: _enrolment(node) for node in real_nodes(layout.plan)},
    }
    for name, token in zip(enrolments, plc.tokens([*enrolments.values()]), strict=True):
        write_private(token_file(layout.home, name), token)


def _enrolment(node: Node) -> Enrolment:
    return Enrolment(Identity(Role.NODE, node.name), (node.address,))


def _enrol_simulated(layout: Layout, plc: Bootstrap) -> None:
    """All at once: thousands of them, each with a token and calls of its own, would take minutes."""
    folders: dict[Path, Enrolment] = {}
    for group, nodes in simulated_groups(layout.plan):
        folder = layout.home.service(group)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        rows = [
            {"name": node.name, "address": node.address, "site": node.site, "port": NODE_API_PORT} for node in nodes
        ]
        write_private(folder / "nodes.json", json.dumps(rows, indent=1))
        folders |= {folder / node.name: _enrolment(node) for node in nodes}
    plc.enrol(folders)
