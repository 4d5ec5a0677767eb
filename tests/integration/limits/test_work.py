"""What people do in slivers, under all limits."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.slivers.conftest import Node

WORK = {
    "gcc": "printf '#include <stdio.h>\\nint main(){puts(\"built\");}' > a.c; gcc -O2 -o a a.c; ./a",
    "threads": "python3 -c 'import threading as t; w=[t.Thread(target=print) for _ in range(30)];"
    " [x.start() for x in w]; [x.join() for x in w]'",
    "processes": "python3 -c 'import multiprocessing as m; p=m.Pool(4); print(p.map(abs, [1])); p.terminate()'",
    "venv": "python3 -m venv --without-pip v;"
    " v/bin/python -c 'import ssl, sqlite3, asyncio; asyncio.run(asyncio.sleep(0))'",
    "ssh": "ssh-keygen -q -t ed25519 -N '' -f k; ssh -V; ssh -o BatchMode=yes -p 1 127.0.0.1 true || test $? = 255",
    "git": "git init -q g; cd g; echo x > f; git add f; git -c user.name=n -c user.email=e commit -qm m; git gc -q",
    "tar": "mkdir t; echo x > t/f; tar czf t.tgz t; rm -r t; tar xzf t.tgz; cat t/f",
    "perl": "perl -e 'print `id`, fork ? wait : exit'",
}


@pytest.mark.parametrize("kind", WORK)
def test_ordinary_work(node: Node, kind: str) -> None:
    if shutil.which("python3" if kind in ("threads", "processes", "venv") else kind) is None:
        pytest.skip(f"no {kind} here")
    node.make("ocean")
    node.says("ocean", f"set -e; cd ~; {WORK[kind]}")
