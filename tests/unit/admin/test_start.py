"""What `dslice` loads: a command that asks over the network has no use for a database, nor any command for the web."""

import subprocess
import sys

import pytest

DATABASE = {"sqlalchemy", "psycopg", "alembic"}
WEB = {"fastapi", "starlette", "uvicorn", "celery"}


def loaded(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("verbs", ["nodes", "slices", "orphans", "usage"])
def test_the_operators_verbs_load_no_database(verbs: str) -> None:
    """At plc's machine, too, where `reach` reads settings and the CA's key."""
    found = loaded("admin.main", f"admin.lab.{verbs}", "admin.lab.reach", "admin.plc.here", "plc.authority")
    assert not found & (DATABASE | WEB)


def test_asking_the_database_once_needs_no_migrations() -> None:
    found = loaded("admin.main", "admin.plc.backend")
    assert "sqlalchemy" in found
    assert not found & (WEB | {"alembic"})
