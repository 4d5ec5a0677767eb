"""The command line installs alone (extras in pyproject.toml), and starts fast."""

import subprocess
import sys

SERVERS_ONLY = {"fastapi", "starlette", "uvicorn", "aiohttp", "structlog", "prometheus_client", "uvloop", "httptools"}


def test_the_blocking_client_needs_no_server_package() -> None:
    program = "import sys, rpc.blocking, rpc.credentials, rpc.tls; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "rpc" in done.stdout.split()
    assert SERVERS_ONLY.isdisjoint(done.stdout.split())
