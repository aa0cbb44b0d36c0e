"""How the tracer sees what a process sees: its memory, its file system, and where its paths lead.

Standalone: standard library only, Python 3.8 or newer, Linux.
"""

import errno
import os
import socket
import stat
import struct

HERE = 0xFFFFFF9C
"""AT_FDCWD, as an unsigned number."""
ADDRESS = (1 << 56) - 1
READ_AT_ONCE = 512
MOST_ARGUMENTS = 1 << 17
MOST_LINKS = 40
PROC = (b"/proc/self", b"/proc/thread-self")


class NoName(Exception):
    """A call names nothing: it will fail, or means something without a path."""


class View:
    """The file system as some of the processes see it: a root folder in a mount namespace."""

    def __init__(self, own, root):
        self.own = own
        self.prefix = b"" if own else b"/proc/self/fd/%d" % root
        """What the tracer puts before a path to find it."""
        self.folders = {}
        """Folder as named -> its real path; `/` is empty."""
        self.letters = {}
        """Real path -> what was done to it."""
        self.reads = set()
        """Paths as named whose reading is noted, or will be: nothing new is learned from them."""


class Sight:
    """What is known of processes and folders, found out once."""

    def __init__(self):
        self.processes = {}
        """Thread id -> (descriptor of its memory, its view); forgotten at each tick, as ids come back."""
        self.most_processes = max(1, min(200, os.sysconf("SC_OPEN_MAX") // 4))
        self.views = {}
        self.home = _namespace(b"self") if os.path.exists("/proc/self/root") else None

    def attach(self, pid):
        memory = os.open(b"/proc/%d/mem" % pid, os.O_RDONLY | os.O_CLOEXEC)
        try:
            space = _namespace(b"%d" % pid)
            view = self.views.get(space)
            if view is None:
                root = os.open(b"/proc/%d/root" % pid, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                view = self.views[space] = View(space == self.home, root)
        except OSError:
            os.close(memory)
            raise
        if len(self.processes) >= self.most_processes:
            self.forget_all()
        self.processes[pid] = found = (memory, view)
        return found

    def forget(self, pid):
        known = self.processes.pop(pid, None)
        if known:
            os.close(known[0])

    def forget_all(self):
        for memory, _view in self.processes.values():
            os.close(memory)
        self.processes.clear()

    def read(self, pid, address, size):
        """Up to `size` bytes of a process; empty where there is nothing."""
        address &= ADDRESS
        for _attempt in range(2):
            memory = (self.processes.get(pid) or self.attach(pid))[0]
            try:
                data = os.pread(memory, size, address)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""
            if data:
                return data
            # The memory that is open may be of a program that has been replaced since.
            self.forget(pid)
        return b""

    def text(self, pid, address, most=4096):
        """The string at an address."""
        data = b""
        while len(data) < most:
            piece = self.read(pid, address + len(data), READ_AT_ONCE)
            end = piece.find(b"\0")
            if end >= 0:
                return data + piece[:end]
            if not piece:
                raise NoName(data)
            data += piece
        return data

    # Paths

    def absolute(self, pid, folder, raw):
        """A path as a process named it, made absolute; None when it cannot be named."""
        if raw.startswith(b"/"):
            return raw
        folder &= 0xFFFFFFFF
        link = b"/proc/%d/cwd" % pid if folder == HERE else b"/proc/%d/fd/%d" % (pid, folder)
        try:
            base = os.readlink(link)
        except FileNotFoundError:  # no such descriptor
            raise NoName(raw) from None
        if not base.startswith(b"/"):
            return None
        view = (self.processes.get(pid) or self.attach(pid))[1]
        if not view.own:
            root = os.readlink(b"/proc/%d/root" % pid)
            if root != b"/" and base.startswith(root):
                base = base[len(root) :] or b"/"
        return base + b"/" + raw if raw else base

    def real_folder(self, view, pid, path, links=0):
        """A folder's path without `.`, `..` and links. The root is empty."""
        known = view.folders.get(path)
        if known is not None:
            return known
        head, _slash, name = path.rpartition(b"/")
        if not path or path == b"/":
            return b""
        parent = self.real_folder(view, pid, head, links)
        if name in (b"", b"."):
            return parent
        if name == b"..":
            return parent.rpartition(b"/")[0]
        here = parent + b"/" + name
        if here in PROC:
            return b"/proc/%d" % pid
        try:
            target = os.readlink(self.outside(view, here))
        except OSError as error:
            if error.errno == errno.EINVAL and not here.startswith(b"/proc/"):
                view.folders[path] = here
            return here
        if links >= MOST_LINKS:
            return here
        found = self.real_folder(view, pid, target if target[:1] == b"/" else parent + b"/" + target, links + 1)
        if not here.startswith(b"/proc/"):
            view.folders[path] = found
        return found

    def outside(self, view, path):
        """Where the tracer finds a path of a process."""
        return path if view.own or path.startswith(b"/proc/") else view.prefix + path

    def status(self, view, path):
        """lstat of a real path; None when it is not there."""
        try:
            return os.lstat(self.outside(view, path))
        except OSError:
            return None

    def real_path(self, view, pid, path):
        """The path with its folder resolved: the last name may be a link."""
        head, _slash, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return self.real_folder(view, pid, path) or b"/"
        return self.real_folder(view, pid, head) + b"/" + name

    def chain(self, view, pid, path, follow=True):
        """[(real path, stat or None), …]: the file, and before it the links that led there. Empty for what has no
        name of its own (a pipe behind /dev/stdin)."""
        found = []
        for _step in range(MOST_LINKS):
            path = self.real_path(view, pid, path)
            status = self.status(view, path)
            linked = status is not None and stat.S_ISLNK(status.st_mode)
            if not path.startswith(b"/proc/") or not linked:
                found.append((path, status))
            if not linked or not follow:
                return found
            target = os.readlink(self.outside(view, path))
            if path.startswith(b"/proc/") and (target[:1] != b"/" or target.endswith(b" (deleted)")):
                return []
            path = target if target[:1] == b"/" else path.rpartition(b"/")[0] + b"/" + target
        return found

    def arguments(self, pid, address, width):
        """The argv of an exec."""
        address &= ADDRESS
        words, total = [], 0
        while address and total < MOST_ARGUMENTS:
            block = self.read(pid, address, width * 32)
            pointers = [int.from_bytes(block[at : at + width], "little") for at in range(0, len(block), width)]
            for pointer in pointers:
                if not pointer:
                    return words
                words.append(self.text(pid, pointer, MOST_ARGUMENTS))
                total += len(words[-1]) + 1
            if not pointers:
                break
            address += len(block)
        return words


def kind_of_socket(pid, descriptor):
    """`tcp` or `udp`: of a socket of another process, by a descriptor of our own for it."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    process = libc.syscall(ctypes.c_long(434), ctypes.c_long(_leader(pid)), ctypes.c_long(0))
    if process < 0:
        return "tcp"
    copy = libc.syscall(ctypes.c_long(438), ctypes.c_long(process), ctypes.c_long(descriptor), ctypes.c_long(0))
    os.close(process)
    if copy < 0:
        return "tcp"
    with socket.socket(fileno=copy) as ours:
        return "udp" if ours.type == socket.SOCK_DGRAM else "tcp"


def _namespace(pid):
    """What tells one view of the file system from another."""
    root = os.stat(b"/proc/%b/root" % pid)
    return os.readlink(b"/proc/%b/ns/mnt" % pid), root.st_dev, root.st_ino


def parent_of(pid):
    with open("/proc/%d/stat" % pid, "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _leader(pid):
    """The process that a thread belongs to."""
    with open("/proc/%d/status" % pid, "rb") as file:
        for line in file:
            if line.startswith(b"Tgid:"):
                return int(line.split()[1])
    return pid


def interpreter_of(path):
    """What the kernel opens to run a program: the `#!` of a script, the loader of a dynamic executable."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(4096)
    except OSError:
        return None
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        return words[0] if words else None
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        return None
    wide = head[4] == 2
    table = struct.unpack_from("=Q" if wide else "=I", head, 32 if wide else 28)[0]
    size, count = struct.unpack_from("=HH", head, 54 if wide else 42)
    for at in range(table, min(table + size * count, len(head) - size + 1), size or 1):
        if struct.unpack_from("=I", head, at)[0] == 3:  # PT_INTERP
            offset = struct.unpack_from("=Q" if wide else "=I", head, at + (8 if wide else 4))[0]
            return head[offset:].split(b"\0", 1)[0] or None
    return None
