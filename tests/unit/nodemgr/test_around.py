"""What stands around a node: slicekeys apart, its neighbours' files, settings, the simulated driver, faults."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.client import Ad, AdList, FrontDoor
from nodemgr.advertise import Location, advertisement
from nodemgr.neighbours import Neighbours, front_doors, hosts, known_hosts, ssh_config
from nodemgr.settings import CommonSettings, Settings, SimulationSettings
from nodemgr.slivers.drivers.simulated import SimulatedDriver, simulated_host_key
from nodemgr.slivers.inside.etc import LOCALHOST
from testbed.simulation.faults import Fault, Kind
from testbed.simulation.population import read_rows
from tests.unit.nodemgr.world import SLICE, World
from tests.unit.trust.factories import AGENT, NODE, NOW
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair, parse_public_key

HOST_KEY = new_ssh_key_pair("")[1]
AD = Ad(
    node="n1",
    address="127.0.1.1",
    api="https://127.0.1.1:2280",
    site="Princeton",
    slots_free=1,
    slots=2,
    memory_free_mb=100,
    max_leaselen=10,
    frontdoor=FrontDoor("127.0.1.1", 2222, HOST_KEY),
    simulated=False,
    expires_at=NOW,
)


def door(address: str = "127.0.1.1", port: int = 2222, key: str = HOST_KEY) -> FrontDoor:
    return FrontDoor(address, port, key)


def test_known_hosts_pin_each_front_door() -> None:
    other = replace(AD, node="n2", frontdoor=door("127.0.1.2", 22))
    assert known_hosts([other, AD]) == f"[127.0.1.1]:2222 {HOST_KEY}\n127.0.1.2 {HOST_KEY}\n"
    assert front_doors([AD, other]) == {("127.0.1.1", 2222), ("127.0.1.2", 22)}


def test_ssh_config_knows_nodes_by_address_and_by_name() -> None:
    text = ssh_config([AD])
    assert "Host 127.0.1.1 n1\n    HostName 127.0.1.1\n    Port 2222\n" in text
    assert "StrictHostKeyChecking yes" in text
    assert ssh_config([AD]) == text  # the same again: nothing to write


@pytest.mark.parametrize(
    "ad",
    [
        replace(AD, simulated=True),
        replace(AD, frontdoor=door(key=f"{HOST_KEY}\n* ssh-rsa AAAA")),
        replace(AD, frontdoor=door(key="nonsense")),
        replace(AD, frontdoor=door(address="127.0.1.1\n    ProxyCommand evil")),
    ],
)
def test_nothing_that_is_no_host_key_or_address_gets_into_ssh_files(ad: Ad) -> None:
    assert known_hosts([ad]) == ""
    assert "Host 127" not in ssh_config([ad])
    assert front_doors([ad]) == frozenset()


def test_every_node_has_its_name_and_its_own_comes_first() -> None:
    others = [
        replace(AD, node=name, frontdoor=door(f"127.0.1.{n}")) for n, name in ((2, "a-b"), (3, "n1.site.example"))
    ]
    found = hosts([*others, replace(AD, node="n9", simulated=True)], "n1.site.example")
    assert found.splitlines()[2:] == ["127.0.1.3\tn1.site.example", "127.0.1.2\ta-b"]
    assert hosts([], "n1") == LOCALHOST
    assert hosts([replace(AD, frontdoor=door(address="127.0.1.1\n6.6.6.6 plc"))], "n1") == LOCALHOST


class Answers:
    """An agent's client that answers from a list, or refuses."""

    def __init__(self, *answers: AdList | Refusal | None) -> None:
        self.answers, self.tags = list(answers), list[str | None]()

    async def ads(self, etag: str | None = None) -> AdList | None:
        self.tags.append(etag)
        answer = self.answers.pop(0)
        if isinstance(answer, Refusal):
            raise answer
        return answer


async def test_neighbours_are_written_when_they_change_and_kept_when_agents_are_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str, str]] = []
    monkeypatch.setattr(SimulatedDriver, "write_host_files", lambda _, *files: written.append(files))
    silent = Refusal(Code.UNREACHABLE, "no agent")
    other = replace(AD, node="n2", frontdoor=door("127.0.1.2"))
    agent = Answers(silent, AdList((AD,), "a"), None, silent, AdList((AD,), "b"), AdList((AD, other), "c"))
    neighbours = Neighbours(world.node, {AGENT: agent})  # type: ignore[dict-item]
    for _ in range(6):
        await neighbours.ask()
    own = NODE.name
    assert written == [(known_hosts(ads), ssh_config(ads), hosts(ads, own)) for ads in ([AD], [AD, other])]
    assert agent.tags == [None, None, "a", "a", "a", "b"]
    assert world.node.peers == front_doors([AD, other])


async def test_an_advertisement_says_what_is_left(world: World) -> None:
    place = Location.of("127.0.1.1", 2280, "Princeton", door())
    assert (advertisement(world.node, place).slots_free, place.api) == (3, "https://127.0.1.1:2280")
    await world.running()
    ad = advertisement(world.node, place)
    assert (ad.slots_free, ad.slots, ad.memory_free_mb, ad.simulated) == (2, 3, 900, True)
    assert world.store.recently_burnt(AGENT, NOW, 10) == ["t-1"]
    assert Location.of("::1", 1, "x", door()).api == "https://[::1]:1"


async def test_every_change_is_told(world: World) -> None:
    told: list[str] = []
    world.node.changed = lambda: told.append("changed")
    world.node.populated = lambda: told.append("populated")
    lease = world.leased()
    assert told == ["changed"]
    await world.running()
    assert told[1:] == ["changed", "populated"]
    await world.node.delete(world.user(), SLICE, lease.slice_id, "t-1")
    assert told[3:] == ["changed", "changed"]  # the lease is forgotten; the sliver is gone


def test_settings_come_from_the_environment_and_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DSLICE_CONFIG", raising=False)
    for name, value in {
        "STATE_DIR": str(tmp_path),
        "PLC_URL": "https://127.0.0.1:1",
        "NAME": "n1",
        "NODE_ADDRESS": "127.0.1.1",
        "AGENTS": "main, west=https://127.0.0.1:2",
        "SLIVER_MB": "128",
        "MAX_LEASELEN": "77",
        "ENROLL_TOKEN_FILE": str(tmp_path / "token"),
    }.items():
        monkeypatch.setenv(f"DSLICE_{name}", value)
    (tmp_path / "token").write_text("secret\n")
    settings = Settings.load()
    west = Identity(Role.AGENT, "west")
    assert settings.agent_urls == {Identity(Role.AGENT, "main"): None, west: "https://127.0.0.1:2"}
    assert (settings.capacity.sliver_mb, settings.capacity.longest, settings.token) == (128, 77, "secret")
    assert (settings.api_place, settings.frontdoor_place) == (("127.0.1.1", 0), ("127.0.1.1", 22))
    monkeypatch.setenv("DSLICE_LISTEN", "[::1]:7")
    assert Settings.load().api_place == ("::1", 7)
    for name, value in [("LISTEN", "nowhere"), ("SLOTS", "-1"), ("MAX_LEASELEN", "1209601"), ("SLIVER_DRIVER", "x")]:
        with monkeypatch.context() as patch:
            patch.setenv(f"DSLICE_{name}", value)
            with pytest.raises(Refusal, match=f"DSLICE_{name}"):
                Settings.load()


def test_a_file_may_hold_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATE_DIR", "PLC_URL", "SLOTS"):
        monkeypatch.delenv(f"DSLICE_{name}", raising=False)
    config = tmp_path / "node.toml"
    config.write_text(f'state_dir = "{tmp_path}"\nplc_url = "https://127.0.0.1:1"\nslots = 5\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(config))
    assert CommonSettings.load().slots == 5
    config.write_text("slots = [")
    with pytest.raises(Refusal):
        CommonSettings.load()


@pytest.mark.parametrize("text", ["ok", "refuse", "lose-answer", "slow=2.5", "drip=1", "wrong-cert"])
def test_faults_are_read_as_they_are_written(text: str) -> None:
    assert str(Fault.parse(text)) == text


def test_drip_is_a_byte_a_second() -> None:
    assert Fault.parse("drip") == Fault(Kind.DRIP, 1)


@pytest.mark.parametrize("text", ["", "explode", "slow", "slow=", "slow=-1", "slow=nan", "slow=1e9", "ok=1", "OK"])
def test_other_faults_are_refused(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        Fault.parse(text)
    assert caught.value.code is Code.BAD_INPUT


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": "s1"}', '[{"name": "s1"}]', '[{"name":"a","address":"b"},{"name":"a","address":"c"}]']
)
def test_a_list_of_nodes_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "nodes.json").write_text(text)
    with pytest.raises(Refusal):
        read_rows(tmp_path / "nodes.json")


def test_a_list_of_simulated_nodes(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text('[{"name": "s1", "address": "127.1.1.1", "site": "Here", "token": "t"}]')
    (row,) = read_rows(tmp_path / "nodes.json")
    assert (row.port, row.slots) == (2280, None)
    assert "token" not in repr(row)
    assert SimulationSettings.model_fields["slots"].default == 64


def test_a_simulated_host_key_stays() -> None:
    line = simulated_host_key(NODE, "a CA")
    assert parse_public_key(line).line == line == simulated_host_key(NODE, "a CA")
    assert line != simulated_host_key(Identity(Role.NODE, "another"), "a CA")
    assert line != simulated_host_key(NODE, "another CA")


async def test_nobody_logs_in_to_a_simulated_sliver(world: World) -> None:
    await world.running()
    with pytest.raises(Refusal) as caught:
        world.driver.enter(SLICE, [], pty=None)
    assert caught.value.code is Code.NOT_ALLOWED
    with pytest.raises(Refusal) as caught:
        await world.driver.start("none")
    assert caught.value.code is Code.NOT_FOUND
