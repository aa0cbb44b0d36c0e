"""What the tracer writes down: paths as the processes saw them, each with what was done to it.

Standalone: standard library only, Python 3.8 or newer, Linux.

A record is a line that ends in NUL, so that a path may hold anything:

    A LETTERS SIZE,MTIME,INODE,CTIME PREIMAGE PATH    `-` where there is nothing; the stat comes with the first only
    P {"pid": …, "parent": …, "executable": …, "argv": […]}
    M {"from": …, "to": …}      a folder was moved, with all below it
    C tcp:127.0.0.1:80          was connected to
    L text                      something that could not be seen or kept
    E {…}                       the tracer's end: nothing follows
"""

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys

from channel import KEEPING, UNSEEN
from sight import HERE, Sight, interpreter_of, kind_of_socket, parent_of

ACCESS_MODE, CREATE, EXCLUSIVE, TRUNCATE = 0o3, 0o100, 0o200, 0o1000
NO_FOLLOW, PATH_ONLY, UNNAMED = getattr(os, "O_NOFOLLOW", 0), 0o10000000, 0o20000000
CHANGING = ACCESS_MODE | CREATE | TRUNCATE
BY_PROCESS = (b"/proc/", b"/dev/")
"""Where a name may mean another thing to each process."""
ODD_NAMES = (b"/", b"/.", b"/..")
MOST_PENDING = 4096
MOST_PROCESSES = 20000
LARGE = 1 << 20
OWN_FOLDER = b"/.bis/"
"""What a `bis` that runs inside this run keeps for itself."""
FICLONE = 0x40049409


class Recorder(Sight):
    """Takes what processes ask of the kernel and writes what is new about it. One thread only."""

    def __init__(self, order, target, page):
        """`order`: roots, unkept (folders outside of them in which nothing is kept before it changes), scratch,
        preimage_limit, command (None: record from the start), no_privileges."""
        Sight.__init__(self)
        self.roots = tuple(os.fsencode(root).rstrip(b"/") for root in order["roots"])
        self.below = tuple(root + b"/" for root in self.roots)
        self.elsewhere = tuple(os.fsencode(folder).rstrip(b"/") + b"/" for folder in order.get("unkept", ()))
        self.scratch = os.fsencode(order["scratch"])
        self.hidden = self.scratch.rstrip(b"/") + b"/"
        self.limit = order["preimage_limit"]
        self.command = [os.fsencode(word) for word in order["command"]] if order.get("command") else None
        self.recording = self.command is None
        self.no_privileges = order.get("no_privileges", False)
        self.target = target
        self.page = page
        self.lines = []
        self.pending = []
        """Openings for reading that are still to be looked at: (pid, view, path as named, flags)."""
        self.first = 0
        """The process that was the first to execute something: the command."""
        self.preimages = 0
        self.executed_files = set()
        self.addresses = set()
        self.said = set()
        self.unresolved = 0
        self.program_count = 0

    # What is kept on disk

    def flush(self):
        """What cannot be written now, for want of room, is tried again later."""
        self.settle()
        data = b"".join(self.lines)
        self.lines.clear()
        try:
            while data:
                data = data[os.write(self.target, data) :]
        except OSError:
            self.lines.append(data)

    def note(self, text):
        if text not in self.said:
            self.said.add(text)
            self.lines.append(b"L " + os.fsencode(text) + b"\0")

    def failed(self, pid, error):
        """A call could not be understood. That of a process which is gone, or of an address that is not there, is
        no loss: the call fails as well."""
        if self.recording and getattr(error, "errno", 0) != errno.EIO and os.path.exists("/proc/%d/mem" % pid):
            self.unresolved += 1
            if self.unresolved < 10:
                sys.stderr.write("bis: pid %d: %r\n" % (pid, error))

    def end(self, facts):
        self.settle()
        if self.page[UNSEEN]:
            self.note("some openings went on before they could be looked at, as the tracer was held up")
        if self.unresolved:
            self.note(
                "%d opening%s could not be attributed to a path"
                % (self.unresolved, "" if self.unresolved == 1 else "s")
            )
        self.lines.append(b"E " + json.dumps(facts).encode() + b"\0")
        self.flush()

    # Writing down

    def add(self, view, pid, path, letters, status=None, preimage=b"-"):
        """What is new about a path; `status` as it was before."""
        if path.startswith(self.hidden):
            return
        if path.startswith(b"/proc/%d/" % pid):
            path = b"/proc/self/" + path.split(b"/", 3)[3]
        known = view.letters.get(path)
        if known is None:
            new, known = letters, ""
        else:
            new = "".join(letter for letter in letters if letter not in known)
            if not new and preimage == b"-":
                return
        view.letters[path] = known + new
        before = b"-"
        if status is not None and not known:
            before = b"%d,%d,%d,%d" % (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        self.lines.append(b"A %b %b %b %b\0" % (new.encode() or b"-", before, preimage, path))

    def absent(self, view, pid, path):
        view.reads.discard(path)
        if path.startswith(self.below) and OWN_FOLDER not in path:
            self.add(view, pid, path, "a")

    def keep(self, view, pid, path, status, removal=False, wipes=True):
        """The bytes of a file that is about to be changed, the first time; returns the name they are kept by, `-` if
        they are not. `wipes`: nothing of them stays. Then a large file that nobody has read is not kept: what it held
        has no part in the run, and to copy each checkpoint that is written anew would cost more than it tells."""
        letters = view.letters.get(path, "")
        if path.startswith(self.hidden) or not stat.S_ISREG(status.st_mode):
            return b"-"
        if not path.startswith(self.below) and (path.startswith(self.elsewhere) or path.endswith(b".pyc")):
            return b"-"
        if any(letter in letters for letter in "wctnd") or OWN_FOLDER in path:
            return b"-"
        if wipes and status.st_size > LARGE and "r" not in letters and "x" not in letters:
            return b"-"
        name = b"%d" % self.preimages
        target = os.path.join(self.scratch, b"preimages", name)
        if not self.copy(self.outside(view, path), target, status, path, removal):
            return b"-"
        self.preimages += 1
        return name

    def copy(self, source, target, status, path, removal):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self.page[KEEPING] = 1
        try:
            return self.copy_bytes(source, target, status, path, removal)
        except OSError as error:
            self.note("what %s held before it was changed could not be kept (%s)" % (_shown(path), error.strerror))
            _unlink(target)
            return False
        finally:
            self.page[KEEPING] = 0

    def copy_bytes(self, source, target, status, path, removal):
        """By reflink; a large file that is about to lose its name by giving it another; else byte by byte."""
        if removal and status.st_size > LARGE and _linked(source, target):
            return True
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(writer, stat.S_IMODE(status.st_mode) & 0o777 | 0o400)
                if _cloned(reader, writer):
                    return True
                if status.st_size > self.limit:
                    text = "what %s held before it was changed is not kept: %d bytes, more than the limit of %d"
                    self.note(text % (_shown(path), status.st_size, self.limit))
                    _unlink(target)
                    return False
                block = os.read(reader, LARGE)
                while block:
                    while block:
                        block = block[os.write(writer, block) :]
                    block = os.read(reader, LARGE)
                return True
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    # What processes do

    def will_open(self, pid, view, path, flags):
        """A file is about to be opened in a way that was not seen before. What is only read is looked at later, many
        at once, which costs a third; but before anything changes by what a process does."""
        if flags & CHANGING or path.startswith(BY_PROCESS):
            self.settle()
            self.opened(pid, view, path, flags)
        else:
            view.reads.add(path)
            self.pending.append((pid, view, path, flags))
            if len(self.pending) > MOST_PENDING:
                self.settle()

    def settle(self):
        """Look at the files that are being read."""
        pending, self.pending = self.pending, []
        for pid, view, path, flags in pending:
            try:
                if not self.plainly_read(view, path):
                    self.opened(pid, view, path, flags)
            except Exception as error:
                self.failed(pid, error)

    def plainly_read(self, view, path):
        """The usual case, quickly: a regular file that was not seen before, in a folder that is known and no link."""
        folder = path[: path.rfind(b"/")]
        if view.folders.get(folder) != folder or path in view.letters or path.startswith(self.hidden):
            return False
        try:
            status = os.lstat(path if view.own else view.prefix + path)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode) or path.endswith(ODD_NAMES):
            return False
        view.letters[path] = "r"
        self.lines.append(
            b"A r %d,%d,%d,%d - %b\0" % (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, path)
        )
        return True

    def opened(self, pid, view, path, flags):
        """A file is about to be opened."""
        if flags & PATH_ONLY or flags & UNNAMED == UNNAMED:
            return
        chain = self.chain(view, pid, path, not flags & NO_FOLLOW)
        if not chain:
            return
        real, status = chain[-1]
        for link, _status in chain[:-1]:
            self.add(view, pid, link, "r", status)
        if status is None:
            view.reads.discard(path)
            self.opened_absent(pid, view, real, flags)
        elif stat.S_ISDIR(status.st_mode):
            self.add(view, pid, real, "l", status)
        elif stat.S_ISLNK(status.st_mode) or (flags & CREATE and flags & EXCLUSIVE):
            return  # fails: it must not be a link, or must not be there
        elif flags & ACCESS_MODE == 0 and not flags & TRUNCATE:
            self.add(view, pid, real, "r", status)
        else:
            letters = "tw" if flags & TRUNCATE else "rw" if flags & ACCESS_MODE == 2 else "w"
            kept = self.keep(view, pid, real, status, wipes="t" in letters)
            self.add(view, pid, real, letters, status, kept)

    def opened_absent(self, pid, view, path, flags):
        folder = path.rpartition(b"/")[0] or b"/"
        if flags & CREATE and self.status(view, folder):
            mode = flags & ACCESS_MODE
            self.add(view, pid, path, "c" if mode == 0 else "cw" if mode == 1 else "cwr")
        else:
            self.absent(view, pid, path)

    def truncated(self, pid, view, path):
        """Cut, or made longer: what is left of it stays."""
        self.settle()
        chain = self.chain(view, pid, path)
        if chain and chain[-1][1] is not None and stat.S_ISREG(chain[-1][1].st_mode):
            real, status = chain[-1]
            self.add(view, pid, real, "tw", status, self.keep(view, pid, real, status, wipes=False))

    def removed(self, pid, view, path):
        self.settle()
        path = self.real_path(view, pid, path)
        status = self.status(view, path)
        if status is None:
            self.absent(view, pid, path)
        elif not stat.S_ISDIR(status.st_mode):
            if stat.S_ISLNK(status.st_mode):
                self.unsettle()
            self.add(view, pid, path, "d", status, self.keep(view, pid, path, status, True))

    def renamed(self, pid, view, source, target, exchange=False):
        self.settle()
        source, target = self.real_path(view, pid, source), self.real_path(view, pid, target)
        status, replaced = self.status(view, source), self.status(view, target)
        if status is None:
            self.absent(view, pid, source)
            return
        if not stat.S_ISREG(status.st_mode):
            self.unsettle()
        kept = self.keep(view, pid, source, status, wipes=False)
        kept_target = self.keep(view, pid, target, replaced, not exchange, not exchange) if replaced else b"-"
        was = None if stat.S_ISDIR(status.st_mode) else status
        self.add(view, pid, source, "mn" if exchange else "m", was, kept)
        self.add(view, pid, target, "nm" if exchange else "n", replaced, kept_target)
        if stat.S_ISDIR(status.st_mode):
            both = {"from": os.fsdecode(source), "to": os.fsdecode(target)}
            self.lines.append(b"M " + json.dumps(both).encode() + b"\0")

    def linked(self, pid, view, source, target, follow):
        """A second name for a file."""
        self.settle()
        target = self.real_path(view, pid, target)
        chain = self.chain(view, pid, source, follow)
        if chain and chain[-1][1] is None:
            self.absent(view, pid, chain[-1][0])
            return
        if chain:
            self.add(view, pid, chain[-1][0], "r", chain[-1][1])
        if not self.status(view, target):
            self.add(view, pid, target, "cn")

    def symlinked(self, pid, view, path):
        self.settle()
        path = self.real_path(view, pid, path)
        self.unsettle()
        if not self.status(view, path):
            self.add(view, pid, path, "cw")

    def folder_made(self, pid, view, path):
        """What a process finds when it lists a folder of its own making is no news from outside."""
        self.settle()
        path = self.real_path(view, pid, path)
        if not self.status(view, path) and self.status(view, path.rpartition(b"/")[0] or b"/"):
            self.add(view, pid, path, "f")

    def unsettle(self):
        """Names may lead elsewhere from now on."""
        for view in self.views.values():
            view.folders.clear()
            view.reads.clear()

    def executed(self, pid, view, path, argv):
        """A program is about to be executed. True when this is the command, which the record begins with."""
        begins = False
        if not self.recording:
            if argv[1:] != self.command[1:] or os.path.basename(argv[0]) != os.path.basename(self.command[0]):
                return False
            self.recording = begins = True
        real = self.program(pid, view, path)
        if real is None:
            return begins
        if self.program_count >= MOST_PROCESSES:
            self.note("only the first %d programs that were executed are listed" % MOST_PROCESSES)
            return begins
        self.program_count += 1
        self.lines.append(b"P " + json.dumps({
            "pid": pid, "parent": parent_of(pid),
            "executable": os.fsdecode(real), "argv": [os.fsdecode(word) for word in argv],
        }).encode() + b"\0")  # fmt: skip
        return begins

    def program(self, pid, view, path, depth=0):
        """Note a program file and what the kernel opens to run it; its real path, or None when it cannot be run."""
        chain = self.chain(view, pid, path)
        if not chain:
            return path
        real, status = chain[-1]
        if status is None:
            self.absent(view, pid, real)
            return None
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return None
        for link, _status in chain:
            self.add(view, pid, link, "x", status)
        if status.st_mode & stat.S_ISUID and self.no_privileges:
            self.note("%s was executed without the privileges it asks for (set-user-id)" % _shown(real))
        if (real, id(view)) not in self.executed_files and depth < 5:
            self.executed_files.add((real, id(view)))
            interpreter = interpreter_of(self.outside(view, real))
            if interpreter:
                self.program(pid, view, self.absolute(pid, HERE, interpreter) or interpreter, depth + 1)
        return real

    def connected(self, pid, descriptor, data):
        """`data`: the socket address."""
        if len(data) < 2:
            return
        family = struct.unpack_from("=H", data)[0]
        if family == socket.AF_UNIX:
            name = data[2:]
            name = b"@" + name[1:] if name[:1] == b"\0" else name.split(b"\0")[0]
            text = b"unix:" + name.replace(b"\0", b"@")
        elif family == socket.AF_INET and len(data) >= 8:
            host = socket.inet_ntop(family, data[4:8])
            text = ("%s:%s:%d" % (kind_of_socket(pid, descriptor), host, int.from_bytes(data[2:4], "big"))).encode()
        elif family == socket.AF_INET6 and len(data) >= 24:
            host = socket.inet_ntop(family, data[8:24])
            text = ("%s:[%s]:%d" % (kind_of_socket(pid, descriptor), host, int.from_bytes(data[2:4], "big"))).encode()
        else:
            return
        if text not in self.addresses:
            self.addresses.add(text)
            self.lines.append(b"C " + text + b"\0")


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def _linked(source, target):
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        return False
    return True


def _cloned(reader, writer):
    try:
        fcntl.ioctl(writer, FICLONE, reader)
    except OSError:
        return False
    return True


def _shown(path):
    return path.decode("utf-8", "backslashreplace")
