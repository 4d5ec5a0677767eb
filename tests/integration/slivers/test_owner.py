"""What owners do with a machine, from end to end: a package with a service, pip, a compiler, cron; and what more they
have by the node's settings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.driver import Terms
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async
from tests.integration.slivers.test_life import eventually
from tests.integration.slivers.test_root import needs_dpkg


@pytest.fixture(scope="module", params=ROOTED)
def ocean(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podman: str | None
) -> Iterator[Node]:
    """A node with a sliver `ocean` with root inside, which these tests share and may restart."""
    with open_node(request.param, tmp_path_factory.mktemp("ocean"), podman) as made:
        made.make("ocean")
        yield made


# A package as Debian's are: a daemon, its user, an init script that is registered and started by the usual helpers.
PACKAGE = """
set -e
rm -rf ~/pkg; mkdir -p ~/pkg/DEBIAN ~/pkg/usr/sbin ~/pkg/etc/init.d ~/pkg/var/lib/tided
printf 'Package: tided\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: me <me@example.org>\\nDescription: tides\\n' \\
    >~/pkg/DEBIAN/control
printf '#!/bin/sh\\ncd /var/lib/tided; exec python3 -m http.server --bind 127.0.0.1 %d\\n' {port} >~/pkg/usr/sbin/tided
cat >~/pkg/etc/init.d/tided <<'INIT'
#!/bin/sh
### BEGIN INIT INFO
# Provides: tided
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: tides
### END INIT INFO
case $1 in
start) start-stop-daemon --start --background --make-pidfile --pidfile /run/tided.pid --exec /usr/sbin/tided ;;
stop) start-stop-daemon --stop --pidfile /run/tided.pid ;;
esac
INIT
cat >~/pkg/DEBIAN/postinst <<'POSTINST'
#!/bin/sh
set -e
echo high >/var/lib/tided/tide
update-rc.d tided defaults
/etc/init.d/tided start
POSTINST
chmod 755 ~/pkg/DEBIAN/postinst ~/pkg/usr/sbin/tided ~/pkg/etc/init.d/tided
dpkg-deb --root-owner-group --build ~/pkg ~/tided.deb
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def test_a_package_s_service_answers_and_comes_back_with_its_sliver(ocean: Node) -> None:
    needs_dpkg()
    if not os.path.exists("/usr/sbin/update-rc.d") or not os.path.exists("/usr/bin/python3"):
        pytest.skip("no update-rc.d or no python3 of the system's here")
    port = free_port()
    ask = f"python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}/tide').read())\""

    def answers() -> bool:
        return "high" in ocean.run("ocean", ask).stdout

    ocean.says("ocean", PACKAGE.format(port=port))
    ocean.root_says("ocean", "apt-get install -y ~ocean/tided.deb || dpkg -i ~ocean/tided.deb")
    eventually(answers)
    ocean.driver = ocean.open()  # another node manager
    assert answers()
    run_async(ocean.driver.stop("ocean"))
    assert not os.path.exists("/etc/init.d/tided")
    run_async(ocean.driver.start("ocean"))
    eventually(answers)
    ocean.root_says("ocean", "service tided stop; dpkg --purge tided")
    run_async(ocean.driver.stop("ocean"))
    run_async(ocean.driver.start("ocean"))
    assert not answers()


def test_pip_installs_what_is_compiled(ocean: Node) -> None:
    """Without a download: a module in C, built by the compiler and the pip that are there."""
    if not shutil.which("gcc") or not os.path.exists("/usr/bin/python3"):
        pytest.skip("no gcc or no python3 of the system's here")
    header = 'python3 -c \'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")\''
    if ocean.run("ocean", header).returncode:
        pytest.skip("no python3-dev here")
    if ocean.run("ocean", "python3 -m venv ~/v && ~/v/bin/python -c 'import setuptools'").returncode:
        pytest.skip("no python3-venv with setuptools here")
    ocean.says(
        "ocean",
        "mkdir -p ~/tide; cd ~/tide; printf '#include <Python.h>\\nstatic PyObject *high(PyObject *s, PyObject *a)"
        '{return PyLong_FromLong(7);}\\nstatic PyMethodDef m[]={{"high",high,METH_NOARGS,0},{0}};\\n'
        'static struct PyModuleDef d={PyModuleDef_HEAD_INIT,"tide",0,-1,m};\\n'
        "PyMODINIT_FUNC PyInit_tide(void){return PyModule_Create(&d);}\\n' >tide.c;"
        'printf \'from setuptools import Extension, setup\\nsetup(name="tide", version="1",'
        ' ext_modules=[Extension("tide", ["tide.c"])])\\n\' >setup.py',
    )
    ocean.says("ocean", "~/v/bin/python -m pip install -q --no-index --no-build-isolation ~/tide")
    assert ocean.says("ocean", "~/v/bin/python -c 'import tide; print(tide.high())'") == "7"
    ocean.says("ocean", "printf 'int main(){return 42;}' >~/a.c; gcc -o ~/a ~/a.c; ~/a || test $? = 42")


def test_cron_fires_and_comes_back(ocean: Node) -> None:
    """Each minute, too, with DSLICE_DEEP=1: that takes one."""
    if not os.path.exists("/usr/sbin/cron"):
        pytest.skip("no cron here; apt-get install cron")
    ocean.root_says("ocean", "update-rc.d cron defaults")
    ocean.says("ocean", "(echo '@reboot touch ~/rebooted'; echo '* * * * * touch ~/fired') | crontab -")
    run_async(ocean.driver.stop("ocean"))
    run_async(ocean.driver.start("ocean"))
    eventually(lambda: ocean.run("ocean", "test -e ~/rebooted").returncode == 0)
    if os.environ.get("DSLICE_DEEP"):
        ocean.says("ocean", "for i in $(seq 90); do test ! -e ~/fired || exit 0; sleep 1; done; exit 1")


def test_a_hundred_busy_loops_keep_nobody_else_out(ocean: Node) -> None:
    """How much slower others are is measured by `python -m bench neighbour`."""
    ocean.make("lake", processes=200)
    spin = "for i in $(seq 100); do (while :; do :; done) & done; echo busy; wait"
    busy = ocean.driver.enter("lake", ["/bin/bash", "-c", spin], pty=None)
    try:
        assert os.read(busy.stdout, 10) == b"busy\n"
        assert ocean.says("ocean", "echo in") == "in"
        spec = ocean.make("sea")
        assert run_async(ocean.driver.list())["sea"] == spec.slice_id
        run_async(ocean.driver.stop("lake"))
        busy.wait()
    finally:
        for descriptor in (busy.stdin, busy.stdout, busy.stderr, busy.ended):
            os.close(descriptor)  # type: ignore[arg-type]


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("driver", ROOTED)
def test_user_namespaces_are_the_operator_s_to_allow(
    driver: str, allowed: bool, tmp_path: Path, podman: str | None
) -> None:
    with open_node(driver, tmp_path, podman, Terms(user_namespaces=allowed)) as node:
        node.make("ocean")
        done = node.run("ocean", "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs x /tmp && echo apart'")
        assert (done.stdout == "apart\n") is allowed, done.stderr
        for way in ("echo x >/etc/slice/x", "mount -o remount,bind,rw /etc/slice", "umount -l /etc/slice"):
            assert node.run("ocean", f"unshare -Urm {way}").returncode != 0
            assert node.root("ocean", f"unshare -Urm sh -c '{way}'").returncode != 0
        assert node.run("ocean", "cat /etc/slice/x").returncode != 0


# Runs in a network namespace of its own, whose settings are its own, too.
PING = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import pytest
from tests.integration.slivers.conftest import open_node
Path("/proc/sys/net/ipv4/ping_group_range").write_text("{range}")
ask = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); s.settimeout(10);"
       " s.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 1]), ('127.0.0.1', 0)); print(s.recv(100)[0])")
with open_node({driver!r}, Path({folder!r}), None) as node:
    node.make("ocean")
    done = node.run("ocean", f'python3 -c "{{ask}}"')
    print("answer", done.stdout.strip(), done.stderr.strip().splitlines()[-1:])
"""


@pytest.mark.parametrize("driver", ["machine", "bubblewrap"])
@pytest.mark.parametrize(("range", "said"), [("0 2147483647", "answer 0 []"), ("1 0", "PermissionError")])
def test_ping_where_the_node_allows_it(driver: str, range: str, said: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("ip") or not os.path.exists("/usr/bin/python3"):
        pytest.skip("needs root, iproute2 and a python3 of the system's")
    here = str(Path(__file__).parents[3])
    program = PING.format(here=here, driver=driver, folder=str(tmp_path), range=range)
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if "Skipped" in done.stderr:
        pytest.skip("this machine cannot run that driver")
    assert said in done.stdout, done.stderr
