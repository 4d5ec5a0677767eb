"""Programs that people run in their slivers, by OpenSSH's client at the front door."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.clients.client import Door
from tests.clients.commandline import OpenSSH
from tests.clients.doing import tried
from tests.clients.installed import ALL, lacking
from tests.integration.frontdoor.screen import Screen


@dataclass(frozen=True, slots=True)
class Program:
    """What is run, what it must say, the package that has it, and the program by which one sees that it is there."""

    program: str
    package: str
    command: str
    said: str


C = r"#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n"
POSTGRES = """
set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
$bin/initdb -D ~/data >/dev/null
$bin/pg_ctl -D ~/data -o "-k $HOME -c listen_addresses=''" -l ~/log -w start >/dev/null
psql -h ~ -d postgres -Atc 'select 6 * 7'
$bin/pg_ctl -D ~/data -m fast stop >/dev/null
rm -r ~/data
"""
NGINX = """
set -e
mkdir -p ~/web; echo high tide >~/web/index.html
printf 'pid %s/pid; error_log stderr; daemon on; events {}\\n' ~ >~/nginx.conf
printf 'http { access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;' >>~/nginx.conf
printf 'uwsgi_temp_path u; scgi_temp_path s; server { listen unix:%s/socket; root %s/web; } }\\n' ~ ~ >>~/nginx.conf
nginx -p ~ -c ~/nginx.conf
curl -s --unix-socket ~/socket http://localhost/
nginx -p ~ -c ~/nginx.conf -s quit
"""
GDB = "{ sleep 60 >/dev/null 2>&1 & } && gdb -q -batch -p $! -ex 'info proc' 2>&1; kill $!"
CC = f"printf '{C}' >t.c && printf 't: t.c\\n\\tgcc -o t t.c\\n' >Makefile && make -s && ./t"
TMUX = "tmux new-session -d 'echo high >wave; sleep 60' && sleep 1 && cat wave; tmux kill-server"
SCREEN = "screen -dm sh -c 'echo high >wave; sleep 60'; sleep 1; cat wave; screen -X quit"
JAVA = "printf 'class T { public static void main(String[] a) { System.out.println(6 * 7); } }' >T.java; java T.java"

PROGRAMS = (
    Program("java", "default-jdk-headless", "java -version 2>&1", "openjdk version|OpenJDK"),
    Program("javac", "default-jdk-headless", JAVA, "^42$"),
    Program("node", "nodejs", "node -e 'console.log(6 * 7, os.cpus().length > 0)'", "^42 true$"),
    Program("gcc", "gcc", CC, "^built$"),
    Program("python3", "python3-venv", "python3 -m venv v && v/bin/pip --version", "^pip "),
    Program("initdb", "postgresql", POSTGRES, "^42$"),
    Program("mpiexec", "openmpi-bin", "mpiexec --oversubscribe -n 2 hostname", r"^(\S+)\n\1$"),
    Program("nginx", "nginx-light", NGINX, "^high tide$"),
    Program("gdb", "gdb", GDB, "process [0-9]+"),
    Program("strace", "strace", "strace -f -e trace=execve true 2>&1", r"exited with 0"),
    Program("tmux", "tmux", TMUX, "^high$"),
    Program("screen", "screen", SCREEN, "^high$"),
)


@pytest.mark.skipif(not ALL, reason="make clients tries it")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("wanted", [pytest.param(each, id=each.program) for each in PROGRAMS])
def test_a_program_works_inside(front: Door, wanted: Program) -> None:
    path = "PATH=$PATH:/usr/sbin:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)"
    if tried(OpenSSH().run(front, f"{path}; command -v {wanted.program}")).returncode:
        pytest.skip(lacking(wanted.package, [wanted.program]))
    ran = tried(OpenSSH().run(front, f"cd $(mktemp -d) && {wanted.command}"))
    assert re.search(wanted.said, ran.stdout.decode(), re.MULTILINE), ran


@pytest.mark.skipif(not ALL, reason="make clients tries it")
@pytest.mark.parametrize("program", ["screen", "tmux"])
def test_a_terminal_of_many_is_left_and_found_again(front: Door, program: str) -> None:
    start, back = {"screen": ("screen", "screen -r"), "tmux": ("tmux", "tmux attach")}[program]
    client = OpenSSH()
    if tried(client.run(front, f"command -v {program}")).returncode:
        pytest.skip(lacking(program, [program]))
    first = Screen(client.shell(front, start))
    first.type("echo high-$((1+1))\n")
    first.until("high-2")
    first.client.kill()
    first.close()
    again = Screen(client.shell(front, back))
    again.type("echo still-$((1+1))\n")
    again.until("still-2")
    again.type("exit\n")
    assert again.client.wait(60) == 0
    again.close()
