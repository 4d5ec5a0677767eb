"""asyncssh's client; as `tests/clients/programs` says. Beside it: `jump`, `socks`, `listen`, `unix`."""

import asyncio
import os
import sys
from typing import Any

import asyncssh


async def run(connection: Any, command: str, *variables: str) -> int:
    environment = dict(each.split("=", 1) for each in variables)
    said = await asyncio.to_thread(sys.stdin.buffer.read)
    ended = await connection.run(command, input=said, env=environment, encoding=None)
    sys.stdout.buffer.write(ended.stdout)
    sys.stderr.buffer.write(ended.stderr)
    return 128 - ended.returncode if ended.returncode < 0 else int(ended.returncode)


async def dial(connection: Any, host: str, port: str) -> int:
    reader, writer = await connection.open_connection(host, int(port), encoding=None)
    said = await asyncio.to_thread(sys.stdin.buffer.read)
    writer.write(said)
    writer.write_eof()
    sys.stdout.buffer.write(await reader.read())
    return 0


async def copied(connection: Any, verb: str, source: str, target: str) -> int:
    async with connection.start_sftp_client() as sftp:
        await getattr(sftp, verb)(source, target, recurse=True)
    return 0


async def stays(connection: Any, verb: str, *words: str) -> int:
    """What goes on until this program is ended."""
    if verb == "socks":
        await connection.forward_socks("127.0.0.1", int(words[0]))
    elif verb == "listen":
        await connection.forward_remote_port("localhost", int(words[0]), "127.0.0.1", int(words[1]))
    else:
        await connection.forward_local_path(words[0], words[1])
    await connection.wait_closed()
    return 0


async def main() -> int:
    host, port, user, key, known_hosts, verb, *words = sys.argv[1:]
    how: dict[str, Any] = {"port": int(port), "username": user, "client_keys": [key], "known_hosts": known_hosts}
    how |= {"config": None, "agent_path": None}
    connection = await asyncssh.connect(host, **how)
    if verb == "jump":
        return await run(await asyncssh.connect(host, tunnel=connection, **how), *words)
    if verb in ("put", "get"):
        return await copied(connection, verb, *words)
    if verb == "dial":
        return await dial(connection, *words)
    return await (run(connection, *words) if verb == "run" else stays(connection, verb, *words))


status = asyncio.run(main())
sys.stdout.flush()
os._exit(status)
