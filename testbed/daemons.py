"""Which daemons a plan means, each with its environment and address: the whole layout of a testbed in one place."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.addresses import (
    FRONT_DOOR_PORT,
    LOOPBACK,
    METRICS_PORT,
    NODE_API_PORT,
    metrics_address,
    node_address,
    simulated_address,
)
from testbed.embedded import SUPERUSER, Postgres, Valkey, server_program
from testbed.home import OPERATOR, Home, Plan, write_private

FLOWER = "flower"  # a service, the name of its user, and of its password's file
LINKS = "links"  # the page that links in letters open, which svmd serves at a port of its own
PORTS = ("plc", "agent", "svmd", LINKS, FLOWER)
AGENT = "dslice.planet-lab.org"  # the name by which the howto of 2003 asks for advertisements
SVM = "svm"
SHOWN = "metrics-token"  # whose file, in the folder of secrets, Prometheus reads
# Whose metrics page comes at which port after METRICS_PORT; workers follow, in their order.
METRICS = ("plc", "agent", "svmd", "beat", "worker1")
SITES = ("Princeton", "Berkeley", "Cambridge")
SIMULATED_PER_PROCESS = 250
MAIL_SOCKET = "mail.sock"
SLOTS = 64  # slivers a node takes
MEMORY_MB = 16_384
# On one machine it costs nothing to ask often, and a node that has just come up is known to all at once.
# With thousands of nodes it would be a third of a core: they keep to the rhythm of others.
OFTEN = 1_000  # simulated nodes at most
NODE_RHYTHM = {"DSLICE_AGENTS": AGENT, "DSLICE_ADVERTISE_SECONDS": "10", "DSLICE_NEIGHBOURS_SECONDS": "3"}

# Set for every daemon by this file; what a shell says about another testbed must not leak in.
OURS = frozenset(
    {
        "DSLICE_AGENTS",
        "DSLICE_BROKER_URL",
        "DSLICE_CA_FILE",
        "DSLICE_CA_FINGERPRINT",
        "DSLICE_CONFIG",
        "DSLICE_DATABASE_URL",
        "DSLICE_DIRECTORY_FILE",
        "DSLICE_ENROLL_TOKEN",
        "DSLICE_ENROLL_TOKEN_FILE",
        "DSLICE_FLOWER_AUTH",
        "DSLICE_FLOWER_LISTEN",
        "DSLICE_FRONTDOOR",
        "DSLICE_HOOKS_ALLOW",
        "DSLICE_IMAGES",
        "DSLICE_LINKS_LISTEN",
        "DSLICE_LINKS_URL",
        "DSLICE_LISTEN",
        "DSLICE_METRICS_LISTEN",
        "DSLICE_METRICS_TOKEN",
        "DSLICE_NAME",
        "DSLICE_NODE_ADDRESS",
        "DSLICE_NODE_SITE",
        "DSLICE_PLC_URL",
        "DSLICE_SIMULATED_NODES",
        "DSLICE_SLICE_KEY_FILE",
        "DSLICE_SLIVER_DRIVER",
        "DSLICE_SMTP_URL",
        "DSLICE_STATE_DIR",
        "DSLICE_SVMD_URL",
    }
)


@dataclass(frozen=True, slots=True)
class Spec:
    """One process of the testbed.

    Args:
        name: what `dslice ps`, `stop` and `start` call it; also its log's name.
        role: as `dslice ps` shows it.
        run: the key of `admin.roles.MAINS`; empty for the two servers, which are programs of their own.
        address: where it answers.
        nodes: addresses of the nodes that it is.
        env: its settings.
    """

    name: str
    role: str
    run: str
    address: str
    nodes: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """One node: name in its certificate, site, address that users see."""

    name: str
    site: str
    address: str


def real_nodes(plan: Plan) -> tuple[Node, ...]:
    """n1, n2, … spread over the sites."""
    network = _network(plan)
    return tuple(
        Node(f"n{number}", SITES[(number - 1) % len(SITES)], node_address(network, number))
        for number in range(1, plan.nodes + 1)
    )


def simulated_nodes(plan: Plan) -> tuple[Node, ...]:
    """s1, s2, … spread over the sites."""
    network = _network(plan)
    return tuple(
        Node(f"s{number}", SITES[(number - 1) % len(SITES)], simulated_address(network, number))
        for number in range(1, plan.simulated + 1)
    )


def simulated_groups(plan: Plan) -> tuple[tuple[str, tuple[Node, ...]], ...]:
    """The processes that are simulated nodes: sim1, sim2, … with the nodes of each."""
    nodes = simulated_nodes(plan)
    return tuple(
        (f"sim{1 + start // SIMULATED_PER_PROCESS}", nodes[start : start + SIMULATED_PER_PROCESS])
        for start in range(0, len(nodes), SIMULATED_PER_PROCESS)
    )


def url(plan: Plan, service: str) -> str:
    """Base URL of a service."""
    return f"{'http' if service == 'flower' else 'https'}://{LOOPBACK}:{plan.ports[service]}"


def token_file(home: Home, name: str) -> Path:
    """Where the enrolment token of one daemon or node lies."""
    return home.secrets / f"token-{name}"


class Layout:
    """All daemons of one plan."""

    def __init__(self, home: Home, plan: Plan, database: Postgres, broker: Valkey) -> None:
        self.home = home
        self.plan = plan
        self.database = database
        self.broker = broker

    def servers(self) -> tuple[Spec, Spec]:
        """PostgreSQL and Valkey, which start first."""
        return (
            Spec("database", "database", "", str(self.database.directory)),
            Spec("broker", "broker", "", str(self.broker.directory)),
        )

    def mail(self) -> Spec:
        """The mailbox, where all letters of the testbed end."""
        place = self.home.socket(MAIL_SOCKET)
        return Spec("mail", "mail", "mail", place, env={"DSLICE_MAILBOX": str(self.home.mail), "DSLICE_LISTEN": place})

    def plc(self) -> Spec:
        """plc, whom all others need to start."""
        env = {
            **self._service("plc", "plc"),
            **self._metrics("plc"),
            "DSLICE_SMTP_URL": f"lmtp://{self.home.socket(MAIL_SOCKET)}",
            "DSLICE_CA_OPERATOR": OPERATOR,
            "DSLICE_DATABASE_URL": self.database.url("plc"),
        }
        return Spec("plc", "plc", "plc", self._at("plc"), env=env)

    def others(self) -> Iterator[Spec]:
        """Everyone else, in any order."""
        yield self._agent()
        yield self._svmd()
        yield from self._workers()
        yield from self._nodes()
        yield from self._simulated()

    def _agent(self) -> Spec:
        env = {
            **self._service("agent", AGENT),
            **self._metrics("agent"),
            "DSLICE_DATABASE_URL": self.database.url("agent"),
        }
        return Spec("agent", "agent", "agent", self._at("agent"), env=env)

    def _svmd(self) -> Spec:
        env = {**self._service("svmd", SVM), **self._metrics("svmd"), **self._queue()}
        env["DSLICE_LINKS_LISTEN"] = self._at(LINKS)
        return Spec("svmd", "svmd", "svmd", self._at("svmd"), env=env)

    def _workers(self) -> Iterator[Spec]:
        shared = {**self._member("svmd", SVM), **self._queue()}
        for number in range(1, self.plan.workers + 1):
            metrics = self._metrics("worker1", number - 1)
            yield Spec(f"worker{number}", "worker", "worker", "", env={**shared, **metrics})
        yield Spec("beat", "beat", "beat", "", env={**shared, **self._metrics("beat")})
        flower = {
            **shared,
            "DSLICE_FLOWER_LISTEN": self._at("flower"),
            "DSLICE_FLOWER_AUTH": f"{FLOWER}:{secret(self.home, FLOWER)}",
        }
        yield Spec("flower", "flower", "flower", self._at("flower"), env=flower)

    def _nodes(self) -> Iterator[Spec]:
        for node in real_nodes(self.plan):
            env = {
                **self._member(node.name, node.name),
                "DSLICE_LISTEN": f"{node.address}:{NODE_API_PORT}",
                "DSLICE_FRONTDOOR": f"{node.address}:{FRONT_DOOR_PORT}",
                "DSLICE_NODE_ADDRESS": node.address,
                **self._shown(f"{node.address}:{METRICS_PORT}"),
                "DSLICE_NODE_SITE": node.site,
                "DSLICE_SLIVER_DRIVER": self.plan.sliver,
                **NODE_RHYTHM,
                "DSLICE_IMAGES": str(self.home.images),
                "DSLICE_SLOTS": str(SLOTS),
                "DSLICE_MEMORY_MB": str(MEMORY_MB),
            }
            yield Spec(node.name, "nodemgr", "nodemgr", env["DSLICE_LISTEN"], (node.address,), env)

    def _simulated(self) -> Iterator[Spec]:
        for name, nodes in simulated_groups(self.plan):
            env = {
                **self._member(name, name),
                "DSLICE_SIMULATED_NODES": str(self.home.service(name) / "nodes.json"),
                "DSLICE_SIMULATED_LATENCY_MS": str(self.plan.latency),
                "DSLICE_IMAGES": str(self.home.images),
                "DSLICE_CONTROL_SOCKET": self.home.socket(f"{name}.sock"),
                **self._shown(f"{nodes[0].address}:{METRICS_PORT}"),
                **NODE_RHYTHM,
            }
            if self.plan.simulated > OFTEN:
                del env["DSLICE_ADVERTISE_SECONDS"]
            yield Spec(
                name, "nodemgr", "simnodes", f"{nodes[0].address}:{NODE_API_PORT}", tuple(n.address for n in nodes), env
            )

    def metrics(self) -> list[dict[str, object]]:
        """Where each daemon shows its metrics, as Prometheus reads it from a file (`file_sd_configs`)."""
        return [
            {"targets": [spec.env["DSLICE_METRICS_LISTEN"]], "labels": {"job": spec.role, "daemon": spec.name}}
            for spec in (self.plc(), *self.others())
            if "DSLICE_METRICS_LISTEN" in spec.env
        ]

    def _metrics(self, service: str, number: int = 0) -> dict[str, str]:
        port = METRICS_PORT + METRICS.index(service) + number
        return self._shown(f"{metrics_address(_network(self.plan))}:{port}")

    def _shown(self, address: str) -> dict[str, str]:
        return {"DSLICE_METRICS_LISTEN": address, "DSLICE_METRICS_TOKEN": secret(self.home, SHOWN)}

    def _service(self, service: str, name: str) -> dict[str, str]:
        return {**self._member(service, name), "DSLICE_LISTEN": self._at(service)}

    def _member(self, folder: str, name: str) -> dict[str, str]:
        return {
            "DSLICE_NAME": name,
            "DSLICE_STATE_DIR": str(self.home.service(folder)),
            "DSLICE_PLC_URL": url(self.plan, "plc"),
            "DSLICE_ENROLL_TOKEN_FILE": str(token_file(self.home, folder)),
        }

    def _queue(self) -> dict[str, str]:
        return {
            "DSLICE_DATABASE_URL": self.database.url("svm"),
            "DSLICE_BROKER_URL": self.broker.url,
            "DSLICE_SLICE_KEY_FILE": str(self.home.secrets / "slice-key"),
            "DSLICE_SMTP_URL": f"lmtp://{self.home.socket(MAIL_SOCKET)}",
            "DSLICE_LINKS_URL": url(self.plan, LINKS),
            "DSLICE_HOOKS_ALLOW": "127.0.0.0/8",  # where everything of a testbed is, and what is tried with it
        }

    def _at(self, service: str) -> str:
        return f"{LOOPBACK}:{self.plan.ports[service]}"


def secret(home: Home, name: str) -> str:
    """A password that the first start makes up and keeps (0600)."""
    path = home.secrets / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18))
    return path.read_text().strip()


def _network(plan: Plan) -> int:
    if plan.network is None:
        raise ValueError("a plan without a network has no nodes yet")
    return plan.network


def plc_environment(folder: Path | None) -> Mapping[str, str] | None:
    """The settings of the plc of the testbed in this folder (None: where `dslice` looks by itself); None without one.

    What `dslice plc` asks for by the entry point `dslice.plc`.
    """
    home = Home.find(folder)
    if not home.ca_file.exists():
        return None
    layout = Layout(home, home.plan(), Postgres(home.service("database")), Valkey(home.service("broker")))
    return {**layout.plc().env, **_backup(layout)}


def _backup(layout: Layout) -> Mapping[str, str]:
    """What `dslice backup` saves: the keys of slices are among the secrets."""
    folders = {name: layout.home.service(name) for name in ("plc", "agent", "svmd")} | {"secrets": layout.home.secrets}
    return {
        "DSLICE_BACKUP_DATABASE_URL": layout.database.url(SUPERUSER),
        "DSLICE_BACKUP_FOLDERS": ",".join(f"{name}={folder}" for name, folder in folders.items()),
        "DSLICE_BACKUP_PROGRAMS": str(server_program("psql").parent),
    }
