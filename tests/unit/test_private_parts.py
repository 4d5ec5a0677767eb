"""Private parts of libraries that are used here (docs/developing.md, "Private parts of libraries") are still theirs.

An override of what a newer version calls by another name would say nothing, and do nothing.
"""

import inspect
import re
from types import ModuleType

import aiohttp.connector
import fastapi.routing
import paramiko.auth_handler
import paramiko.channel
import paramiko.packet
import paramiko.transport
import pytest
import xdist.scheduler.loadscope

from nodemgr.frontdoor.fed import FedChannel
from nodemgr.frontdoor.transport import BoundedPacketizer, BoundedTransport, PatientAuthHandler
from rpc.aio import Connector
from tests.conftest import ByFolder

OVERRIDDEN = {
    BoundedPacketizer: {"_read_timeout"},
    FedChannel: {"_feed", "_feed_extended"},
    PatientAuthHandler: {"_generate_key_from_request", "_send_auth_result"},
    BoundedTransport: {
        "_active_check_timeout",
        "_channel_handler_table",
        "_kex_info",
        "_negotiate_keys",
        "_parse_newkeys",
        "_parse_channel_open",
        "_parse_global_request",
        "_send_user_message",
        "_unlink_channel",
    },
    Connector: {"_get_ssl_context"},
    ByFolder: {"_split_scope"},
}
USED = {
    aiohttp.connector: {"_factory", "_get_ssl_context"},
    fastapi.routing: {"_iter_low_priority_routes"},
    paramiko.auth_handler: {
        "_disconnect_no_more_auth",
        "_disconnect_service_not_available",
        "_generate_key_from_request",
        "_send_auth_result",
    },
    paramiko.channel: {"_unlink_channel", "_send_user_message"},
    paramiko.packet: {"_read_timeout", "constant_time_bytes_eq"},
    paramiko.transport: (OVERRIDDEN[BoundedTransport] | OVERRIDDEN[FedChannel]) - {"_unlink_channel"}
    | {"_key_info"}
    | {"_latest_kex_init", "_really_parse_kex_init"},
    xdist.scheduler.loadscope: {"_split_scope"},
}


@pytest.mark.parametrize("ours", OVERRIDDEN, ids=lambda ours: ours.__name__)
def test_all_that_is_overridden_is_listed(ours: type) -> None:
    theirs = {name for base in ours.__mro__[1:] for name in vars(base)}
    assert {name for name in vars(ours).keys() & theirs if re.match("_[a-z]", name)} == OVERRIDDEN[ours]


@pytest.mark.parametrize("library", USED, ids=lambda library: library.__name__)
def test_the_library_still_uses_it(library: ModuleType) -> None:
    source = inspect.getsource(library)
    assert [name for name in USED[library] if not re.search(rf"\.{name}\b", source)] == []
