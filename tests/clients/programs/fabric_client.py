"""fabric's Connection; as `tests/clients/programs` says."""

import sys

from fabric import Config, Connection


def main() -> int:
    host, port, user, key, known_hosts, verb, *words = sys.argv[1:]
    config = Config(overrides={"load_ssh_configs": False})
    how = {"key_filename": key, "allow_agent": False, "look_for_keys": False}
    with Connection(host, user=user, port=int(port), config=config, connect_kwargs=how) as connection:
        connection.client.load_host_keys(known_hosts)
        assert verb == "run"
        return int(connection.run(words[0], warn=True, in_stream=sys.stdin).exited)


sys.exit(main())
