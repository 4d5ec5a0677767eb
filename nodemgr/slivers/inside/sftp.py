"""An SFTP server (version 3, draft-ietf-secsh-filexfer-02) that runs inside a sliver, as its user.

The front door copies this one file into every sliver and runs it there with whatever Python the node has, where the
node has no OpenSSH server to take sftp-server from. It imports the standard library only, works since Python 3.8, and
reads and writes nothing but its own standard input and output. All that it may do is what the sliver's user may do
with `cp`: the sandbox is the protection, not this program.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import sys
import time
from typing import Callable  # noqa: UP035 collections.abc.Callable[…] does not run on 3.8

MAX_PACKET = 256 * 1024
MAX_READ = 255 * 1024
MAX_HANDLES = 200
_DIRECTORY_BATCH = 100

(INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT, SETSTAT, FSETSTAT) = range(1, 11)
(OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK) = range(11, 21)
STATUS, HANDLE, DATA, NAME, ATTRS = range(101, 106)
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = range(6)
OP_UNSUPPORTED = 8

_SIZE, _UIDGID, _PERMISSIONS, _TIMES = 1, 2, 4, 8
_EXTENDED_ATTRIBUTES = 0x80000000
_READ, _WRITE, _APPEND, _CREATE, _TRUNCATE, _EXCLUSIVE = 1, 2, 4, 8, 16, 32


class ProtocolError(Exception):
    """The client sent what is no packet; the session ends."""


class SftpError(Exception):
    """A request that is answered with this status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Packet:
    """The fields of one request, taken off from the left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        return int(struct.unpack(">I", self._take(4))[0])

    def long(self) -> int:
        return int(struct.unpack(">Q", self._take(8))[0])

    def string(self) -> bytes:
        return self._take(self.number())

    def path(self) -> bytes:
        name = self.string()
        if b"\0" in name:
            raise SftpError(NO_SUCH_FILE, "a path with a zero byte")
        return name or b"."

    def attributes(self) -> dict[str, int]:
        """What is set of size, uid, gid, mode, atime and mtime (seconds)."""
        flags = self.number()
        found: dict[str, int] = {}
        if flags & _SIZE:
            found["size"] = self.long()
        if flags & _UIDGID:
            found["uid"], found["gid"] = self.number(), self.number()
        if flags & _PERMISSIONS:
            found["mode"] = self.number()
        if flags & _TIMES:
            found["atime"], found["mtime"] = self.number(), self.number()
        if flags & _EXTENDED_ATTRIBUTES:
            for _ in range(self.number()):
                self.string(), self.string()
        return found

    def _take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ProtocolError("a field is cut off")
        self._at += count
        return part


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def attributes(found: os.stat_result) -> bytes:
    """The attributes of a file, as in ATTRS and NAME."""
    times = (min(max(int(found.st_atime), 0), 0xFFFFFFFF), min(max(int(found.st_mtime), 0), 0xFFFFFFFF))
    flags = _SIZE | _UIDGID | _PERMISSIONS | _TIMES
    return struct.pack(">IQIIIII", flags, found.st_size, found.st_uid, found.st_gid, found.st_mode, *times)


def long_name(name: bytes, found: os.stat_result) -> bytes:
    """One line as `ls -l` prints it, which is what `sftp> ls -l` shows."""
    shape = "%b %e %H:%M" if abs(time.time() - found.st_mtime) < 180 * 86400 else "%b %e  %Y"
    when = time.strftime(shape, time.localtime(found.st_mtime))
    fields = (stat.filemode(found.st_mode), found.st_nlink, found.st_uid, found.st_gid, found.st_size, when)
    return "{} {:4} {:<8} {:<8} {:8} {} ".format(*fields).encode() + name


def status_of(error: OSError) -> int:
    """The status for an error of the operating system."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP):
        return NO_SUCH_FILE
    if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
        return PERMISSION_DENIED
    return FAILURE


def apply(path: bytes | int, wanted: dict[str, int], *, follow: bool = True) -> None:
    """Set the attributes of a path (of a link itself: no mode or size) or an open file, in OpenSSH's order."""
    if not follow and wanted.keys() & {"size", "mode"}:
        raise SftpError(OP_UNSUPPORTED, "a link has no size or mode of its own")
    if "size" in wanted:
        os.truncate(path, wanted["size"])
    if "mode" in wanted:
        os.chmod(path, wanted["mode"] & 0o7777)
    if "mtime" in wanted:
        os.utime(path, (wanted["atime"], wanted["mtime"]), follow_symlinks=follow)
    if "uid" in wanted:
        os.chown(path, wanted["uid"], wanted["gid"], follow_symlinks=follow)


class Directory:
    """An open folder: what of it was not listed yet."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.names = [b".", b"..", *os.listdir(path)]

    def batch(self) -> bytes:
        """The next names with their attributes, as the body of a NAME answer; SftpError(EOF) after the last."""
        taken, self.names = self.names[:_DIRECTORY_BATCH], self.names[_DIRECTORY_BATCH:]
        if not taken:
            raise SftpError(EOF, "end of folder")
        lines = []
        for name in taken:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(self.path, name))
                lines.append(string(name) + string(long_name(name, found)) + attributes(found))
        return struct.pack(">I", len(lines)) + b"".join(lines)


class Server:
    """One session over two descriptors."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._handles: dict[bytes, tuple[int, bool] | Directory] = {}
        self._made = 0

    def serve(self) -> None:
        """Answer until the client closes its side. ProtocolError when it speaks something else."""
        while True:
            head = self._read(4)
            if not head:
                return
            length = struct.unpack(">I", head)[0]
            if not 1 <= length <= MAX_PACKET:
                raise ProtocolError(f"a packet of {length} bytes")
            body = self._read(length)
            kind, packet = body[0], Packet(body[1:])
            if kind == INIT:
                packet.number()
                extensions = b"".join(string(name) + string(b"2" if b"vfs" in name else b"1") for name in _EXTENSIONS)
                self._send(VERSION, struct.pack(">I", 3) + extensions)
            else:
                self._answer(kind, packet.number(), packet)

    def _answer(self, kind: int, request: int, packet: Packet) -> None:
        identity = struct.pack(">I", request)
        try:
            handler = _HANDLERS.get(kind)
            if handler is None:
                raise SftpError(OP_UNSUPPORTED, "not a request of version 3")
            answer, body = handler(self, packet)
        except SftpError as error:
            answer, body = STATUS, self._status(error.code, str(error))
        except OSError as error:
            answer, body = STATUS, self._status(status_of(error), os.strerror(error.errno or 0))
        except OverflowError:
            answer, body = STATUS, self._status(FAILURE, "a number out of range")
        self._send(answer, identity + body)

    @staticmethod
    def _status(code: int, text: str) -> bytes:
        return struct.pack(">I", code) + string(text.encode()) + string(b"en")

    def _read(self, count: int) -> bytes:
        """Exactly `count` bytes, or none at the end of the stream."""
        parts, missing = [], count
        while missing:
            part = os.read(self._source, missing)
            if not part:
                if missing != count:
                    raise ProtocolError("the stream ends inside a packet")
                return b""
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _send(self, kind: int, body: bytes) -> None:
        rest = memoryview(struct.pack(">IB", len(body) + 1, kind) + body)
        while rest:
            rest = rest[os.write(self._target, rest) :]

    def _keep(self, opened: tuple[int, bool] | Directory) -> tuple[int, bytes]:
        self._made += 1
        handle = b"%d" % self._made
        self._handles[handle] = opened
        return HANDLE, string(handle)

    def _require_room(self) -> None:
        if len(self._handles) >= MAX_HANDLES:
            raise SftpError(FAILURE, "too many open files")

    def _file(self, packet: Packet) -> tuple[int, bool]:
        opened = self._handles.get(packet.string())
        if not isinstance(opened, tuple):
            raise SftpError(FAILURE, "no such handle")
        return opened

    def open(self, packet: Packet) -> tuple[int, bytes]:
        path, wanted, attrs = packet.path(), packet.number(), packet.attributes()
        self._require_room()
        both = wanted & (_READ | _WRITE)
        flags = os.O_RDWR if both == _READ | _WRITE else os.O_WRONLY if both == _WRITE else os.O_RDONLY
        flags |= (os.O_CREAT if wanted & _CREATE else 0) | (os.O_TRUNC if wanted & _TRUNCATE else 0)
        flags |= (os.O_EXCL if wanted & _EXCLUSIVE else 0) | (os.O_APPEND if wanted & _APPEND else 0)
        descriptor = os.open(path, flags, attrs.get("mode", 0o666) & 0o7777)
        return self._keep((descriptor, bool(wanted & _APPEND)))

    def close(self, packet: Packet) -> tuple[int, bytes]:
        opened = self._handles.pop(packet.string(), None)
        if opened is None:
            raise SftpError(FAILURE, "no such handle")
        if isinstance(opened, tuple):
            os.close(opened[0])
        return _ok()

    def read(self, packet: Packet) -> tuple[int, bytes]:
        descriptor, _append = self._file(packet)
        offset, length = packet.long(), packet.number()
        data = os.pread(descriptor, min(length, MAX_READ), offset)
        if not data and length:
            raise SftpError(EOF, "end of file")
        return DATA, string(data)

    def write(self, packet: Packet) -> tuple[int, bytes]:
        descriptor, append = self._file(packet)
        offset, data = packet.long(), packet.string()
        done = 0
        while done < len(data):
            rest = data[done:]
            done += os.write(descriptor, rest) if append else os.pwrite(descriptor, rest, offset + done)
        return _ok()

    def fsetstat(self, packet: Packet) -> tuple[int, bytes]:
        apply(self._file(packet)[0], packet.attributes())
        return _ok()

    def opendir(self, packet: Packet) -> tuple[int, bytes]:
        self._require_room()
        return self._keep(Directory(packet.path()))

    def readdir(self, packet: Packet) -> tuple[int, bytes]:
        opened = self._handles.get(packet.string())
        if not isinstance(opened, Directory):
            raise SftpError(FAILURE, "no such handle")
        return NAME, opened.batch()

    def extended(self, packet: Packet) -> tuple[int, bytes]:
        handler = _EXTENSIONS.get(packet.string())
        if handler is None:
            raise SftpError(OP_UNSUPPORTED, "no such extension")
        return handler(self, packet)

    def fsync(self, packet: Packet) -> tuple[int, bytes]:
        os.fsync(self._file(packet)[0])
        return _ok()

    def copy_data(self, packet: Packet) -> tuple[int, bytes]:
        """draft-ietf-secsh-filexfer-extensions-00, 7: a length of 0 is all up to the end."""
        source, start, length = self._file(packet)[0], packet.long(), packet.long()
        target, place = self._file(packet)[0], packet.long()
        if os.path.samestat(os.fstat(source), os.fstat(target)):
            raise SftpError(FAILURE, "a file cannot be copied to itself")
        rest = length or sys.maxsize
        while rest and (data := os.pread(source, min(rest, MAX_READ), start)):
            written = os.pwrite(target, data, place)
            start, place, rest = start + written, place + written, rest - written
        return _ok()


Handler = Callable[[Server, Packet], "tuple[int, bytes]"]


def _ok() -> tuple[int, bytes]:
    return STATUS, Server._status(OK, "Success")


def _room(found: os.statvfs_result) -> tuple[int, bytes]:
    """What `df` shows (OpenSSH's PROTOCOL, 4.4)."""
    blocks = (found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail)
    files = (found.f_files, found.f_ffree, found.f_favail, found.f_fsid, found.f_flag & 3, found.f_namemax)
    return EXTENDED_REPLY, struct.pack(">11Q", *blocks, *files)


def _setstat(_server: Server, packet: Packet, *, follow: bool = True) -> tuple[int, bytes]:
    apply(packet.path(), packet.attributes(), follow=follow)
    return _ok()


def _mkdir(_server: Server, packet: Packet) -> tuple[int, bytes]:
    os.mkdir(packet.path(), packet.attributes().get("mode", 0o777) & 0o7777)
    return _ok()


def _rename(_server: Server, packet: Packet) -> tuple[int, bytes]:
    """Version 3 says that an existing target is an error; link and unlink say so without a race."""
    source, target = packet.path(), packet.path()
    if stat.S_ISREG(os.lstat(source).st_mode):
        os.link(source, target, follow_symlinks=False)
        os.unlink(source)
    elif os.path.lexists(target):
        raise SftpError(FAILURE, "target exists")
    else:
        os.rename(source, target)
    return _ok()


def _limits(_server: Server, _packet: Packet) -> tuple[int, bytes]:
    return EXTENDED_REPLY, struct.pack(">4Q", MAX_PACKET, MAX_READ, MAX_READ, MAX_HANDLES)


def _with_name(action: Callable[[bytes], bytes]) -> Handler:
    def handle(_server: Server, packet: Packet) -> tuple[int, bytes]:
        name = string(action(packet.path()))
        return NAME, struct.pack(">I", 1) + name + name + struct.pack(">I", 0)

    return handle


def _with_attributes(look: Callable[[bytes], os.stat_result]) -> Handler:
    return lambda _server, packet: (ATTRS, attributes(look(packet.path())))


def _with_paths(action: Callable[..., object], count: int = 1) -> Handler:
    def handle(_server: Server, packet: Packet) -> tuple[int, bytes]:
        action(*[packet.path() for _ in range(count)])
        return _ok()

    return handle


# SYMLINK: OpenSSH sends target, then link; the draft has it the other way round, and every client follows OpenSSH.
_HANDLERS: dict[int, Handler] = {
    OPEN: Server.open, CLOSE: Server.close, READ: Server.read, WRITE: Server.write, LSTAT: _with_attributes(os.lstat),
    FSTAT: lambda server, packet: (ATTRS, attributes(os.fstat(server._file(packet)[0]))),
    SETSTAT: _setstat, FSETSTAT: Server.fsetstat, OPENDIR: Server.opendir,
    READDIR: Server.readdir, REMOVE: _with_paths(os.unlink), MKDIR: _mkdir, RMDIR: _with_paths(os.rmdir),
    REALPATH: _with_name(os.path.realpath), STAT: _with_attributes(os.stat), RENAME: _rename,
    READLINK: _with_name(os.readlink), SYMLINK: _with_paths(os.symlink, 2), EXTENDED: Server.extended,
}  # fmt: skip
_EXTENSIONS: dict[bytes, Handler] = {
    b"posix-rename@openssh.com": _with_paths(os.replace, 2),
    b"hardlink@openssh.com": _with_paths(os.link, 2),
    b"fsync@openssh.com": Server.fsync,
    b"limits@openssh.com": _limits,
    b"statvfs@openssh.com": lambda _server, packet: _room(os.statvfs(packet.path())),
    b"fstatvfs@openssh.com": lambda server, packet: _room(os.fstatvfs(server._file(packet)[0])),
    b"lsetstat@openssh.com": lambda server, packet: _setstat(server, packet, follow=False),
    b"copy-data": Server.copy_data,
    b"expand-path@openssh.com": _with_name(lambda path: os.path.realpath(os.path.expanduser(path))),
}


if __name__ == "__main__":
    try:
        Server(0, 1).serve()
    except (ProtocolError, BrokenPipeError) as failure:
        print(f"sftp: {failure}", file=sys.stderr)  # noqa: T201 the client's user reads it
        sys.exit(1)
