"""The parent of the command: starts it, records what it and all its children open, and outlives its supervisor.

    python -I -S -E -c '…; tracer.main(CONTROL, START, GUARD, MODE)'

Standalone: standard library only, Python 3.8 or newer. Where there is no seccomp (macOS) it is the parent and no more.
Three processes, of which the supervisor starts the first before it knows what is to be run:

    tracer   answers the notifications of the kernel (one thread, one loop), reaps, writes the record
    command  waits for its order, then becomes the command
    guard    keeps the training alive when another dies: it answers when the tracer is gone or hangs,
             and takes the command's output when the supervisor is gone

On the three sockets, lines of JSON: CONTROL supervisor <-> tracer, START supervisor -> command, with the
descriptors the command is to have, GUARD supervisor -> guard, with the descriptors of its output.
"""

import errno
import fcntl
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
import time

import seccomp
from calls import handlers
from channel import ANSWER, PAGE, close_others, forget, hear, say
from child import begin
from guard import stand_guard
from recorder import CHANGING, Recorder
from sight import HERE, READ_AT_ONCE, NoName

TICK = 0.2
"""Seconds within which everything seen is on disk."""
HURRY = 0.02
GRACE = 2.0
"""Seconds that children may outlive the command, when nobody is there to decide it."""
PR_SET_CHILD_SUBREAPER = 36


def main(control, start, guard, mode):
    control = socket.socket(fileno=control)
    start = socket.socket(fileno=start)
    guard = socket.socket(fileno=guard)
    for each in (control, start, guard):
        each.set_inheritable(False)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C is for the command
    page = mmap.mmap(-1, PAGE)
    page[ANSWER : ANSWER + 24] = seccomp.RESPONSE.pack(0, 0, 0, seccomp.CONTINUE)
    listener, child, facts = begin(start, mode, page, (control, guard))
    start.close()
    alive, watched = socket.socketpair()
    stand_guard(guard, watched, listener, page, (control, alive))
    become_subreaper()  # not before: the guard is to be nobody's child
    watched.close()
    guard.close()
    close_others({control.fileno(), alive.fileno(), listener})
    say(control, dict(facts, pid=child))
    order, _descriptors = hear(control)
    if order is None:  # the supervisor wants no command after all
        alive.send(b"q")
        os.kill(child, signal.SIGKILL)
        return
    sys.setrecursionlimit(12000)  # a path has up to 2048 names, each resolved within the next
    gc.disable()  # nothing here makes circles, and what is remembered only grows
    Tracer(control, alive, listener, page, child, order).run()


def become_subreaper():
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Tracer:
    """The loop over notifications, and what happens at each tick."""

    def __init__(self, control, alive, listener, page, child, order):
        self.control, self.alive, self.listener, self.page, self.child = control, alive, listener, page, child
        if order["leads"]:
            self.child = 0
        self.order = order
        self.scratch = order["scratch"]
        log = os.open(os.path.join(self.scratch, "tracer-said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2, inheritable=False)
        os.close(log)
        target = os.open(
            os.path.join(self.scratch, "trace"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        # Held as long as the tracer lives: who can take it knows that nobody will write the end any more.
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.record = Recorder(order, target, page)
        self.handlers = handlers(self.record) if listener >= 0 else {}
        self.answered = 0
        self.due = True
        self.next_tick = 0.0
        self.statuses = {}
        self.ended = None
        self.gone = False
        self.alone = False
        self.stop = False
        self.cpu = 0.0
        self.peak = 0
        self.left = []

    def run(self):
        awake, wake = socket.socketpair()
        for end in (awake, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, self.hurry)
        signal.signal(signal.SIGALRM, self.hurry)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        say(self.control, {"watching": True})
        while not self.finished():
            if self.due:
                self.due = False
                self.reap()
                self.tick()
            elif self.listener >= 0:
                self.serve()
            else:
                select.select([awake] if self.alone else [awake, self.control], [], [], TICK)
                self.due = True
                forget(awake)
        self.finish()

    def hurry(self, *_):
        """The signal handler. It may come in the midst of anything, so it does nothing but ask."""
        self.due = True

    def serve(self):
        """Answer notifications until a signal asks for something else. This loop is what an opening costs."""
        page, listener, record = self.page, self.listener, self.record
        incoming, outgoing = memoryview(page)[:ANSWER], memoryview(page)[ANSWER:]
        ioctl, pread, readlink = fcntl.ioctl, os.pread, os.readlink
        unpack, receive, send = seccomp.NOTIFICATION.unpack_from, seccomp.RECV, seccomp.SEND
        nothing, size = bytes(80), READ_AT_ONCE
        native, _width, calls = seccomp.tables()[0]
        openat, here = calls["openat"], HERE
        processes = record.processes
        interesting = CHANGING
        beyond = self.handlers
        answered = 0
        try:
            while not self.due:
                page[:80] = nothing
                try:
                    ioctl(listener, receive, incoming)
                except OSError as error:
                    if error.errno == errno.EINTR:
                        return
                    if error.errno != errno.ENOENT or self.deserted():
                        self.listener = -1
                        return
                    continue
                _ident, pid, _flags, number, architecture, _at, folder, path, flags, a3, a4, _a5 = unpack(page)
                try:
                    if number == openat and architecture == native:
                        found = processes.get(pid)
                        if found is None:
                            found = record.attach(pid)
                        memory, view = found
                        raw = pread(memory, size, path)
                        end = raw.find(b"\0")
                        raw = raw[:end] if end > 0 else record.text(pid, path)
                        if raw[:1] != b"/" and raw:
                            if folder & 0xFFFFFFFF == here and view.own:
                                raw = readlink(b"/proc/%d/cwd" % pid) + b"/" + raw
                            else:
                                raw = record.absolute(pid, folder, raw)
                        if raw and (raw not in view.reads or flags & interesting) and record.recording:
                            record.will_open(pid, view, raw, flags)
                    else:
                        beyond[architecture, number](pid, folder, path, flags, a3, a4)
                except NoName:
                    pass  # the call will fail, or what it names has no path
                except Exception as error:
                    record.failed(pid, error)
                page[ANSWER : ANSWER + 8] = page[:8]
                try:
                    ioctl(listener, send, outgoing)
                except OSError:
                    pass  # it was interrupted or killed meanwhile
                answered += 1
        finally:
            self.answered += answered

    def deserted(self):
        """Whether no process is left that the filter is on."""
        poll = select.poll()
        poll.register(self.listener, 0)
        return any(events & select.POLLHUP for _number, events in poll.poll(0))

    # Ticks

    def tick(self):
        now = time.monotonic()
        if now < self.next_tick:
            return
        self.next_tick = now + (HURRY if self.ended else TICK)
        self.record.forget_all()
        self.record.flush()
        if not self.alone and select.select([self.control], [], [], 0)[0]:
            self.listen()
        if self.alone and self.ended and now > self.ended["clock"] + GRACE:
            self.stop = True

    def listen(self):
        """The supervisor says that it is enough, or is gone."""
        message, _descriptors = hear(self.control)
        if message is None:
            self.alone = True
        elif "child" in message:
            self.child = message["child"]
            self.due = True
        elif message.get("stop"):
            self.stop = True

    def reap(self):
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.gone = True
                break
            if not pid:
                break
            self.cpu += usage.ru_utime + usage.ru_stime
            self.peak = max(self.peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
            self.statuses[pid] = status
        if self.ended is None:
            # On a terminal the command is a grandchild that came to us; it is known by its first deed, or told.
            command = self.child or self.record.first
            if command in self.statuses:
                self.child_ended(self.statuses[command])

    def child_ended(self, status):
        killed = os.WIFSIGNALED(status)
        self.ended = {
            "exit": None if killed else os.WEXITSTATUS(status),
            "signal": os.WTERMSIG(status) if killed else None,
            "time_ns": time.time_ns(),
            "clock": time.monotonic(),
        }
        self.write_end(False)
        say(self.control, {"ended": self.ended})
        signal.setitimer(signal.ITIMER_REAL, HURRY, HURRY)

    def finished(self):
        return self.ended is not None and (self.stop or self.gone)

    def finish(self):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.left = [] if self.gone and self.reaped() else descendants()
        self.write_end(True)
        self.record.end({"answered": self.answered, "left": self.left, "cpu": round(time.process_time(), 4)})
        self.alive.send(b"q")
        say(self.control, {"done": self.facts()})
        # To end with something unread would make the supervisor lose what it has not read yet.
        while hear(self.control)[0] is not None:
            pass

    def reaped(self):
        self.reap()
        return self.gone

    def facts(self):
        read, written = traffic()
        return dict(
            self.ended, cpu=self.cpu, peak=self.peak, read=read, written=written,
            answered=self.answered, left=self.left, alone=self.alone,
        )  # fmt: skip

    def write_end(self, whole):
        """The end of the command, for whoever comes later if the supervisor is gone."""
        path = os.path.join(self.scratch, "end")
        try:
            with open(path + ".new", "w") as file:
                json.dump(dict(self.facts(), whole=whole), file)
            os.replace(path + ".new", path)
        except OSError as error:
            sys.stderr.write("bis: %s: %s\n" % (path, error))


def traffic():
    """Bytes read from and written to disks by the children that were waited for."""
    try:
        whole, own = counters("/proc/self/io"), counters("/proc/thread-self/io")
    except OSError:
        return 0, 0
    return tuple(max(0, whole[name] - own[name]) for name in ("read_bytes", "write_bytes"))


def counters(path):
    with open(path) as file:
        return {name: int(value) for name, _colon, value in (line.partition(":") for line in file)}


def descendants():
    """[pid, name] of each process that still lives below this one."""
    children = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    head, _, tail = file.read().rpartition(b")")
            except OSError:
                continue
            state, parent = tail.split()[:2]
            if state not in (b"Z", b"X"):
                children.setdefault(int(parent), []).append((int(name), os.fsdecode(head.partition(b"(")[2])))
    found, ahead = [], [os.getpid()]
    while ahead:
        for pid, name in children.get(ahead.pop(), ()):
            found.append([pid, name])
            ahead.append(pid)
    return found
