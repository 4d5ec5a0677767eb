"""A slice: made or joined, used, kept alive, given back."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from dslice.client import Client, default_client
from dslice.errors import Error, bad_input, told
from dslice.event import Event
from dslice.keys import Keys, identity_of, key_lines
from dslice.node import Command, Node, Paths, here, shell_line, there
from dslice.operation import Operation
from dslice.result import Results
from dslice.status import Status
from trust.errors import Code
from trust.names import check_slice_name

if TYPE_CHECKING:
    from svm.request import Request
    from svm.slicefile import SliceFile
    from svm.sshconfig import Host

Keep = bool | Literal["on-error"]
_TURNS = 5
"""So often another program may be quicker."""
_MAKING = ("createslice", "newtickets", "newleases", "newvms", "replace", "deleteslice")


class Slice:
    """A slice of yours by its name. Made, or joined when it is there, by `with` or `create()`; nothing is asked before.

    Args:
        name: lower-case letters, digits and `_`.
        nodes: how many, or the addresses of those that it may be on; None: it is there already.
        hours: the length of a lease; at most two weeks.
        needs: what each VM is to have, by the words of docs/slice-file.md: `memory disk processes cpu image`.
        keys: SSH public keys that may log in: files, or the keys themselves.
        identity: the private key to log in with; else the file beside the first of `keys`, else what ssh finds.
        keep: what leaving a `with` block does: True keeps the slice, False deletes it, "on-error" keeps it after an
            exception. Without it, one that was given `nodes` is deleted and any other is kept.
        replace: another node for one that fails for good.
        autorenew: renew its leases from now on.
        agents: names of the agents to ask for tickets.
        client: None: the one of your ~/.planetlab.
    """

    def __init__(
        self,
        name: str,
        *,
        nodes: int | Sequence[str] | None = None,
        hours: float = 24,
        needs: Mapping[str, int | str] | None = None,
        keys: Keys = (),
        identity: str | os.PathLike[str] | None = None,
        keep: Keep | None = None,
        replace: bool = False,
        autorenew: bool = False,
        agents: Sequence[str] = (),
        client: Client | None = None,
    ) -> None:
        self._client = client or default_client()
        self._wanted: SliceFile | None = None
        with told():
            check_slice_name(name)
            if nodes is not None:
                from svm.wanted import wanted

                self._wanted = wanted(name, nodes, hours, needs)
            self._keys = key_lines(keys)
        self.name = name
        self._identity = os.fspath(identity) if identity else identity_of(keys)
        self.keep = nodes is None if keep is None else keep
        self._replace, self._autorenews, self._agents = replace, autorenew, tuple(agents)

    # Making and ending

    def create(self) -> Self:
        """Make it, complete it, or join it when it is complete; then its keys are let in.

        Raises PartialFailure when some nodes failed: the others run, and its `retry()` does the rest.
        """
        found, creation = self._joined_or_begun()
        there = {key.split()[1] for key in found.keys} if found else set()
        new = tuple(key for key in self._keys if key.split()[1] not in there)
        # Beside it: keys that are wanted already go to each node with its VM.
        access = self._begun(self._request("addkey", keys=new)) if new else None
        for each in (creation, access):
            if each is not None:
                each.wait()
        if creation is None and self._autorenews and found is not None and not found.autorenew:
            self.autorenew()
        return self

    def tickets(self) -> Operation:
        """The first of the three steps of `create`: tickets from agents, for all nodes or for none."""
        return self._do(self._creation("newtickets"))

    def leases(self, nodes: Sequence[str] = ()) -> Operation:
        """The second: a lease for each ticket; on these nodes, or on all that wait for it."""
        return self._do(self._request("newleases", nodes=tuple(nodes)))

    def vms(self, nodes: Sequence[str] = ()) -> Operation:
        """The third: a VM for each lease; on these nodes, or on all that wait for it."""
        return self._do(self._request("newvms", nodes=tuple(nodes)))

    def delete(self) -> Operation:
        """Delete it: its VMs, its tickets, its name. What cannot be reached now ends with its lease at the latest."""
        from svm.files import forget_slice

        done = self._do(self._request("deleteslice"))
        with told():
            forget_slice(self._client._open().home.directory, self.name)
        return done

    def shrink(self, nodes: Sequence[str]) -> Operation:
        """Give back these of its nodes; their VMs end, with all that is in them."""
        return self._do(self._request("shrink", nodes=tuple(nodes)))

    # Stopping and starting

    def stop(self, nodes: Sequence[str] = ()) -> Operation:
        """Stop VMs, of these nodes or of all; they keep their files, places and leases."""
        return self._do(self._request("stop", nodes=tuple(nodes)))

    def start(self, nodes: Sequence[str] = ()) -> Operation:
        """Start VMs that do not run, of these nodes or of all."""
        return self._do(self._request("start", nodes=tuple(nodes)))

    def restart(self, nodes: Sequence[str] = ()) -> Operation:
        """Stop VMs and start them, of these nodes or of all."""
        return self._do(self._request("restart", nodes=tuple(nodes)))

    def reset(self, nodes: Sequence[str] = ()) -> Operation:
        """Give VMs a fresh root file system, of these nodes or of all; what is in the slice's home stays."""
        return self._do(self._request("reset", nodes=tuple(nodes)))

    def __enter__(self) -> Self:
        if self._wanted is None:
            self.status()  # which says so when there is none
        return self.create()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.keep is True or (self.keep and error is not None):
            return
        try:
            self.delete()
        except Error as failed:
            if error is None and failed.code != Code.NOT_FOUND:
                raise
            if error is not None:
                error.add_note(f"dslice: {failed}")

    # Keeping it

    def renew(self, hours: float | None = None) -> Operation:
        """Renew its leases: each begins now again. Where that is less than `hours`, svmd goes on until then."""
        done = self._do(self._request("renewslice"))
        if hours is not None:
            now = self.status()
            if hours * 3600 > now.lease:
                self.autorenew(until=now.now + timedelta(hours=hours))
        return done

    def autorenew(self, on: bool = True, *, until: datetime | None = None) -> Operation:
        """Have svmd renew its leases, until a time, or not; at the longest until your certificate ends."""
        if until is not None and until.tzinfo is None:
            raise bad_input("until has no time zone; give datetime.now(UTC) + timedelta(...)")
        heal = on and self.status().heal
        return self._do(self._request("autorenew", autorenew=on, until=until, standing_heal=heal))

    def heal(self, on: bool = True) -> Operation:
        """Have nodes that fall silent replaced by others, or not."""
        return self._do(self._request("heal", heal=on, standing_heal=on))

    def add_key(self, keys: Keys) -> Operation:
        """Let these public keys log in: files, or the keys themselves."""
        return self._do(self._request("addkey", keys=_checked(keys)))

    def del_key(self, keys: Keys) -> Operation:
        """Let these public keys in no longer; their sessions end."""
        return self._do(self._request("delkey", keys=_checked(keys)))

    # Seeing it

    def status(self) -> Status:
        """How it stands now. Error(not-found) when there is none."""
        with told():
            return Status.of(self, self._client._slice(self.name))

    def nodes(self) -> list[Node]:
        """Its nodes that run."""
        return [node for node in self.status().nodes if node.state == "running"]

    def __getitem__(self, word: str) -> Node:
        """The node of that address or name, as it is now. Error(not-found) when it is none of this slice's."""
        for node in self.status().nodes:
            if word in (node.address, node.name):
                return node
        raise Error(str(Code.NOT_FOUND), f"{word[:60]} is not a node of {self.name}; nodes() lists them")

    def expirations(self) -> dict[str, datetime]:
        """When each of its leases ends, by node."""
        leased = ("leased", "running", "stopped")
        return {node.address: node.ends for node in self.status().nodes if node.ends and node.state in leased}

    def history(self, limit: int = 200) -> list[Event]:
        """Its newest events over all operations, oldest first; also when it is gone."""
        with told():
            return [Event.of(each) for each in self._client._open().history(self.name, limit)]

    events = history

    def operation(self) -> Operation:
        """What goes on, else what was done last."""
        facts = self.status().facts
        open_ones = facts["operations"]
        id = open_ones[-1]["operation"] if open_ones else facts["newest_operation"]
        with told():
            found = self._client._open().operation(id)
        operation = Operation(self._client, id, found["verb"], self.name)
        if found["outcome"] is not None:
            for _ in operation.watch():  # what it did is known then
                pass
        return operation

    def watch(self, timeout: float | None = None) -> Iterator[Event]:
        """The events of `operation()` from the first to the last, as they happen."""
        return self.operation().watch(timeout)

    def wait(self, timeout: float | None = None) -> Operation:
        """Wait for the end of `operation()`, for so many seconds at most. Raises as `Operation.wait` does."""
        return self.operation().wait(timeout)

    # Using it

    def run(
        self, command: Command, *, nodes: Sequence[str] | None = None, timeout: float | None = None, at_once: int = 0
    ) -> Results:
        """Run a command, a line for the shell there or words, on its nodes; the results come as they end.

        It runs from now on, whether or not anybody iterates. `timeout`: seconds for each node; `at_once`: so many at a
        time, as the client's parallelism else.
        """
        config, hosts = self._doors(nodes)
        argv = [*self._ssh_words(config), "--"]
        line = shell_line(command)
        return self._everywhere(lambda node: [*argv, node, line], [host.node for host in hosts], timeout, at_once)

    def put(self, source: Paths, target: str = "", *, nodes: Sequence[str] | None = None) -> Results:
        """Copy files and folders to its nodes, with their times; `target` begins at the slice's home."""
        sources = here(source)
        for each in sources:
            if not Path(each).exists():
                raise bad_input(f"{each[:200]} is not there; give a file or a folder")
        return self._copy(lambda node: [*sources, *there(node, target)], nodes)

    def get(
        self, source: Paths, target: str | os.PathLike[str] = ".", *, nodes: Sequence[str] | None = None
    ) -> Results:
        """Copy files and folders from its nodes: what comes from a node goes to `target`/NODE."""
        (folder,) = here(target)

        def words(node: str) -> list[str]:
            mine = Path(folder, node)
            mine.mkdir(parents=True, exist_ok=True)
            return [*there(node, source), f"{mine}/"]

        return self._copy(words, nodes)

    def to_pandas(self) -> Any:
        """A row for each of its nodes. Error where pandas is not installed."""
        from dslice.shown import frame

        return frame(self.status())

    # For this package

    def _doors(self, nodes: Sequence[str] | None) -> "tuple[Path, list[Host]]":
        """The ssh_config, written anew, and the nodes of it that are asked for; all that can be logged in to."""
        from svm.openssh import require
        from svm.sshconfig import find, hosts, write

        with told():
            details = self._client._slice(self.name)
            found = hosts(details)
            if not found:
                raise Error(str(Code.NOT_FOUND), f"{self.name} has no running VM; create() makes them")
            require("ssh")
            config = write(self._client._open().home.directory, self.name, found)
            return config, found if nodes is None else [find(details, self.name, word) for word in nodes]

    def _ssh_words(self, config: Path) -> list[str]:
        """ssh into this slice, where nobody can be asked."""
        from svm.openssh import ssh_command, unattended

        return [*ssh_command(config, self._identity), *unattended(self._client.connect_timeout)]

    def _copy(self, words: Callable[[str], Sequence[str]], nodes: Sequence[str] | None) -> Results:
        """scp with these words for each node."""
        from svm.openssh import scp_command

        config, hosts = self._doors(nodes)
        base = scp_command(config, self._identity, self._client.connect_timeout)
        return self._everywhere(lambda node: [*base, *words(node)], [host.node for host in hosts], None, 0)

    def _everywhere(
        self, argv: Callable[[str], Sequence[str]], nodes: list[str], timeout: float | None, at_once: int
    ) -> Results:
        from svm.everywhere import Everywhere

        return Results(Everywhere(argv, nodes, at_once or self._client.parallelism, timeout=timeout), len(nodes))

    def _joined_or_begun(self) -> tuple[Status | None, Operation | None]:
        """What is there, when nothing goes on that makes or ends it; and what makes what is lacking."""
        for _ in range(_TURNS):
            found = self._settled()
            if found is not None and self._is_made(found):
                return found, None
            try:
                return found, self._begun(self._creation("createslice"))
            except Error as error:
                if error.code != Code.BUSY:
                    raise
                busy = error  # another program was quicker: what it makes is joined
        raise busy

    def _settled(self) -> Status | None:
        """How it stands once nothing goes on that makes or ends it; None when there is none."""
        try:
            found = self.status()
            for each in found.facts["operations"]:
                if each["verb"] in _MAKING:
                    for _ in Operation(self._client, each["operation"], each["verb"], self.name).watch():
                        pass
                    found = self.status()
        except Error as error:
            if error.code != Code.NOT_FOUND:
                raise
            return None
        return found

    def _is_made(self, found: Status) -> bool:

        if self._wanted is None:
            return True
        held = found.running + found.facts["nodes"].get("stopped", 0)
        wanted = (self._wanted.numnodes, self._wanted.leaselen)
        same = (found.wanted, found.lease) == wanted and (
            found.facts.get("needs") or {}
        ) == self._wanted.needs.to_json()
        return found.state == "open" and held >= found.wanted and same

    def _creation(self, verb: str) -> "Request":
        if self._wanted is None:
            raise bad_input(f"how many nodes shall {self.name} have? Give Slice(..., nodes=)")
        if verb == "newtickets":
            return self._request(verb, file=self._wanted, agents=self._agents)
        autorenew = True if self._autorenews else None
        return self._request(verb, file=self._wanted, agents=self._agents, replace=self._replace, autorenew=autorenew)

    def _request(self, verb: str, **members: Any) -> "Request":
        from svm.request import Request

        return Request(verb, self.name, **members)

    def _do(self, request: "Request") -> Operation:
        """Ask for it, and wait for its end."""
        return self._begun(request).wait()

    def _begun(self, request: "Request") -> Operation:
        return Operation(self._client, "", request.verb, self.name, request)._begin()

    def __repr__(self) -> str:
        return f"Slice({self.name!r})"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()


def _checked(keys: Keys) -> tuple[str, ...]:
    with told():
        return key_lines(keys)
