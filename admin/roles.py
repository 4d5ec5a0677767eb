"""`dslice run ROLE`: which function each daemon is. Imported only when it runs.

Another package adds roles by entry points of the group `dslice.roles`, as the testbed does.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

MAINS: Mapping[str, str] = {
    "plc": "plc.daemon:main",
    "agent": "agent.daemon:main",
    "nodemgr": "nodemgr.daemon:main",
    "svmd": "svm.service.daemon:main",
    "worker": "workers.daemon:main_worker",
    "beat": "workers.daemon:main_beat",
    "flower": "workers.daemon:main_flower",
}


def mains() -> dict[str, str]:
    """Role to `module:function`, those of other packages too."""
    return {**MAINS, **{point.name: point.value for point in entry_points(group="dslice.roles")}}


def run(role: str) -> None:
    """Run a daemon in this process until it is told to stop: settings from the environment.

    Raises KeyError for a role that is none of `mains`, ModuleNotFoundError for a missing dependency.
    """
    module, _, name = mains()[role].partition(":")
    main: Callable[[], None] = getattr(import_module(module), name)
    main()
