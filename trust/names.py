"""Names of slices: each is also a login on every node, at the front door and inside the sliver."""

import re

from trust.errors import Code, Refusal

_SLICE = re.compile(r"[a-z][a-z0-9_]{1,30}")

# Accounts that systems and services commonly have; a slice of that name would shadow or become one of them.
_LOGINS = """
adm admin administrator alpm apache audio avahi backup bin bind broker cdrom ceph chrony console crontab daemon
database dbus debian debian_exim dhcp dialout dip disk dnsmasq docker dslice ed fax fedora floppy ftp fwupd
games gdm geoclue git gnats grafana hacluster halt http httpd input irc kmem kvm landscape ldap libvirt list
listen lp lpadmin lxd mail mailman man memcache messagebus munin mysql named netdev news nfs nfsnobody nginx
nobody nodemgr nogroup nscd ntp nuucp operator pcap plc plugdev podman polkitd pollinate postfix postgres
postmaster proxy pulse radvd redis render root rpc rpcuser rpm rtkit saned sgx shadow shutdown slocate squid src
ssh sshd sshusers sssd staff stapdev statd stunnel sudo support svm svmd sync sys syslog system systemd
systemd_network tape tcpdump tomcat toor tpm tss tty ubuntu unbound usbmux users utmp uucp vagrant valkey vcsa
video webmaster wheel wtmp www xfs zabbix
"""
RESERVED_LOGINS = frozenset(_LOGINS.split())


def check_slice_name(name: str) -> str:
    """The name itself, if it is ``[a-z][a-z0-9_]{1,30}`` and no reserved login; else Refusal(BAD_INPUT)."""
    if not _SLICE.fullmatch(name):
        raise Refusal(
            Code.BAD_INPUT,
            f"{name[:40]!a} is not a slice name: use a lower-case letter, then 1 to 30 of a-z, 0-9 and _",
        )
    if name in RESERVED_LOGINS:
        raise Refusal(Code.BAD_INPUT, f"{name!r} is a login that systems reserve; choose another slice name")
    return name
