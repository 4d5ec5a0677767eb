"""A node manager's settings."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nodemgr.admission import Capacity
from nodemgr.slivers.drivers.driver import Terms
from rpc.settings import HostPortOrNone, IpAddress, MemberSettings, split_host_port
from trust.documents import MAX_LEASELEN
from trust.identity import Identity, Role
from trust.needs import BOUNDS

DriverName = Literal["auto", "machine", "bubblewrap", "unshare", "podman", "simulated"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class CommonSettings(MemberSettings):
    """What real and simulated nodes are told alike.

    Args:
        state_dir: the folder (0700) of keys, certificates and stores.
        agents: names of the agents whose tickets count here, separated by commas; `NAME=URL` where plc's directory
            should not be asked for the URL.
        slots: slivers at once. memory_mb: memory for all of them, MiB; sliver_mb of it for each whose slice does not
            say how much it needs.
        processes: most processes of one sliver; most_processes: of one whose slice says how many it needs.
        images: folder of the machine's images (`dslice image`), 0700; empty: there are none.
        disk_mb: disk that may be promised to slivers, MiB; 0: what the disk has.
        sliver_disk_mb: of it, MiB, for each whose slice does not say how much it needs, where slivers have disks of
            their own; 0: those have none; None: its share, at most 4 GiB.
        disk_overcommit: how many times what the disk has free may be promised.
        longest: longest lease, seconds.
        grace: seconds that a sliver outlives its lease.
        disk_reserve_mb: MiB on the disk that are kept for the node's own store (twice; simulated nodes keep none).
        disk_floor_mb: with fewer MiB free the disk counts as full: no new sliver, and the one that takes it is
            stopped; 0: never.
        disk_seconds, advertise_seconds, neighbours_seconds, expiry_seconds, stops_seconds, usage_seconds: between two
            rounds of each.
    """

    agents: str = "agent"
    slots: Annotated[int, Field(ge=0, le=100_000)] = 16
    memory_mb: Annotated[int, Field(ge=0)] = 16_384
    sliver_mb: Annotated[int, Field(ge=1)] = 256
    processes: Annotated[int, Field(ge=1)] = Field(default=256, validation_alias="DSLICE_SLIVER_PROCESSES")
    most_processes: Annotated[int, Field(ge=1)] = 4_096
    disk_mb: Annotated[int, Field(ge=0)] = 0
    sliver_disk_mb: Annotated[int, Field(ge=0, le=BOUNDS["disk_mb"][1])] | None = None
    disk_overcommit: Annotated[float, Field(ge=1, le=100)] = 1
    images: str = ""
    longest: Annotated[int, Field(ge=1, le=MAX_LEASELEN)] = Field(
        default=MAX_LEASELEN, validation_alias="DSLICE_MAX_LEASELEN"
    )
    grace: Annotated[int, Field(ge=0, le=86_400)] = 60
    disk_reserve_mb: Annotated[int, Field(ge=0, le=1024)] = 4
    disk_floor_mb: Annotated[int, Field(ge=0)] = 256
    disk_seconds: Seconds = 5
    advertise_seconds: Seconds = 20
    neighbours_seconds: Seconds = 60
    expiry_seconds: Seconds = 1
    stops_seconds: Seconds = 20
    usage_seconds: Seconds = 600

    @property
    def agent_urls(self) -> dict[Identity, str | None]:
        """Each agent with its URL, None where plc's directory knows it."""
        entries = [entry.strip().partition("=") for entry in self.agents.split(",") if entry.strip()]
        return {Identity(Role.AGENT, name): url or None for name, _, url in entries}

    @property
    def images_folder(self) -> Path | None:
        return Path(self.images) if self.images else None

    @property
    def capacity(self) -> Capacity:
        return Capacity(
            slots=self.slots,
            memory_mb=self.memory_mb,
            sliver_mb=self.sliver_mb,
            processes=self.processes,
            longest=self.longest,
            most_processes=max(self.most_processes, self.processes),
            disk_mb=self.disk_mb or None,
        )


class Settings(CommonSettings):
    """What one real node is told.

    Args:
        name: as in its certificate.
        node_address: the IP address that users see; it stands in the certificate.
        node_site: where it stands; agents spread slices over sites.
        listen: host:port of the node manager; empty: a free port at the node's address.
        frontdoor: host:port of SSH; empty: port 22 at the node's address.
        sliver_driver: how slivers are made.
        accept_env: variables that a session takes from its client's environment beside LANG, LC_*, COLORTERM, TERM and
            GIT_PROTOCOL: names, separated by commas, with * for any letters.
        user_namespaces: whether slivers with root inside may make user namespaces of their own.
        ready_slivers: that are prepared before anybody asks (docs/slivers.md, "Prepared slivers"); 0: none.
    """

    name: str
    node_address: IpAddress
    node_site: Annotated[str, Field(pattern=r"^[ -~]{1,64}$")] = "unknown"
    listen: HostPortOrNone = ""
    frontdoor: HostPortOrNone = ""
    sliver_driver: DriverName = "auto"
    accept_env: Annotated[str, Field(pattern=r"^[A-Za-z0-9_*, ]*$")] = ""
    user_namespaces: bool = False
    ready_slivers: Annotated[int, Field(ge=0, le=1_000)] = 2

    @property
    def terms(self) -> Terms:
        return Terms(self.disk_floor_mb, self.disk_overcommit, self.user_namespaces)

    @property
    def api_place(self) -> tuple[str, int]:
        """(host, port) to listen at."""
        return split_host_port(self.listen) if self.listen else (self.node_address, 0)

    @property
    def frontdoor_place(self) -> tuple[str, int]:
        """(host, port) of the front door."""
        return split_host_port(self.frontdoor) if self.frontdoor else (self.node_address, 22)


class SimulationSettings(CommonSettings):
    """What one process of simulated nodes is told.

    Args:
        simulated_nodes: JSON, a list of `{"name", "address", "site", "token", "port", "slots"}`, the last three may be
            missing; each node keeps what it knows in `state_dir/NAME/`.
        simulated_latency_ms: that each call takes.
        simulated_calls: each node writes down its calls in `state_dir/NAME/calls.jsonl` (for tests).
        control_socket: unix socket for `dslice fault`; empty: none.
    """

    simulated_nodes: Path
    simulated_latency_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    simulated_calls: bool = False
    control_socket: str = ""
    slots: Annotated[int, Field(ge=0, le=100_000)] = 64
