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

import recorder
import seccomp

TICK = 0.2
"""Seconds within which everything seen is on disk."""
HURRY = 0.02
STUCK = 2.0
GRACE = 2.0
"""Seconds that children may outlive the command, when nobody is there to decide it."""
PAGE = 4096
ANSWER = 2048
"""Where the answer lies in the shared page; the notification lies at its beginning."""
PR_SET_CHILD_SUBREAPER = 36
CHECK = b"/dev/null"


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


def close_others(keep):
    """Let go of what was inherited for the command: an end of somebody's pipe must not stay open here."""
    if sys.platform != "linux":
        return
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number not in keep:
            try:
                os.close(number)
            except OSError:
                pass


def forget(channel):
    """Read away what a channel holds."""
    try:
        while channel.recv(4096):
            pass
    except OSError:
        pass


def say(channel, message):
    try:
        channel.sendall(json.dumps(message).encode() + b"\n")
    except OSError:
        pass  # nobody listens any more; what matters is written to files


def hear(channel):
    """One message and the descriptors that came with it; (None, []) when the other side is gone."""
    data, descriptors = b"", []
    while not data.endswith(b"\n"):
        try:
            piece, ancillary, _flags, _address = channel.recvmsg(1 << 16, 1024)
        except OSError:
            piece, ancillary = b"", []
        for _level, _kind, block in ancillary:
            descriptors += [int.from_bytes(block[at : at + 4], sys.byteorder) for at in range(0, len(block) - 3, 4)]
        if not piece:
            return None, descriptors
        data += piece
    for number in descriptors:
        os.set_inheritable(number, False)
    return json.loads(data), descriptors


# Starting: the child, its filter, and the proof that both work


def begin(start, mode, page, others):
    """Fork the process that will be the command. Returns the listener (-1: none), its pid and what is known."""
    if mode != "notify":
        return -1, fork_child(start, None, others), {"mechanism": "none"}
    try:
        seccomp.tables()
        ours, theirs = socket.socketpair()
        child = fork_child(start, theirs, (*others, ours))
        theirs.close()
        try:
            listener, facts = check(ours, child, page)
            return listener, child, facts
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        finally:
            ours.close()
    except (seccomp.Refused, OSError) as error:
        return -1, fork_child(start, None, others), {"mechanism": "none", "why": str(error)}


def fork_child(start, trial, others):
    child = os.fork()
    if child:
        return child
    try:
        for each in others:
            each.close()
        if trial is not None:
            put_filter(trial)
        obey(start)
    except BaseException as error:
        sys.stderr.write("bis: %r\n" % (error,))
    finally:
        os._exit(125)


def put_filter(trial):
    """In the child: install the filter, hand over the listener, and open a file for a proof."""
    open_devices()
    try:
        listener, no_privileges = seccomp.install()
    except seccomp.Refused as refused:
        say(trial, {"refused": str(refused)})
        os._exit(0)
    message = json.dumps({"no_privileges": no_privileges}).encode() + b"\n"
    trial.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))])
    os.close(listener)
    os.close(os.open(CHECK, os.O_RDONLY))
    trial.close()


def open_devices():
    """The first opening of a graphics card may need a set-user-id helper, which has no effect later."""
    import glob

    if os.path.exists("/proc/driver/nvidia") and os.path.exists("/usr/bin/nvidia-modprobe"):
        os.spawnv(os.P_WAIT, "/usr/bin/nvidia-modprobe", ["nvidia-modprobe", "-c0", "-u"])
    for path in glob.glob("/dev/nvidia*") + glob.glob("/dev/kfd"):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            pass


def check(trial, child, page):
    """Prove that an opening is seen, can be read, and goes on. Raises Refused."""
    message, descriptors = hear(trial)
    if message is None or "refused" in message:
        raise seccomp.Refused((message or {}).get("refused", "the trial of the filter failed"))
    listener = descriptors[0]
    try:
        fcntl.ioctl(listener, seccomp.SET_FLAGS, seccomp.SYNC_WAKE_UP)
    except OSError:
        pass  # Linux before 6.6: slower, no less true
    incoming, outgoing = memoryview(page)[:ANSWER], memoryview(page)[ANSWER:]
    signal.alarm(5)
    fcntl.ioctl(listener, seccomp.RECV, incoming)
    ident, pid, _flags, _number, _architecture, _at, _folder, path = seccomp.NOTIFICATION.unpack_from(page)[:8]
    try:
        with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            seen = os.pread(memory.fileno(), len(CHECK), path)
    except OSError as error:
        raise seccomp.Refused("the memory of a child process cannot be read (%s)" % error.strerror) from None
    if seen != CHECK:
        raise seccomp.Refused("the memory of a child process reads as something else")
    page[ANSWER : ANSWER + 8] = ident.to_bytes(8, sys.byteorder)
    fcntl.ioctl(listener, seccomp.SEND, outgoing)
    signal.alarm(0)
    page[:80] = bytes(80)
    return listener, {"mechanism": "notify", "no_privileges": message["no_privileges"]}


# The command


def obey(start):
    """In the child: wait for the order and become the command. Failures are reported by errno on the last of the
    descriptors, which closes when the command has begun."""
    order, descriptors = hear(start)
    if order is None:
        os._exit(0)
    inputs, report, terminal = descriptors[:3], descriptors[3], descriptors[4:]
    step = "folder"
    try:
        if terminal:
            os.setsid()
            import termios

            fcntl.ioctl(terminal[0], termios.TIOCSCTTY, 0)
        elif order["group"] is not None:
            os.setpgid(0, order["group"])
        report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 10)
        inputs = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in inputs]
        for number, source in enumerate(inputs):
            os.dup2(source, number)
        os.chdir(os.fsencode(order["folder"]))
        for each in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        step = "command"
        become([os.fsencode(word) for word in order["command"]], order["variables"])
    except OSError as error:
        os.write(report, json.dumps({"step": step, "errno": error.errno}).encode())
    os._exit(127)


def become(command, variables):
    """Execute a command as a shell would: looked up in PATH, and a script without `#!` by /bin/sh."""
    environment = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    name = command[0]
    folders = environment.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    candidates = [name] if b"/" in name else [os.path.join(folder or b".", name) for folder in folders]
    worst = errno.ENOENT
    for path in candidates:
        try:
            os.execve(path, command, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC and is_text(path):
                os.execve(b"/bin/sh", [b"sh", path, *command[1:]], environment)
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise
            # A file that is there and may not be executed is the better explanation.
            if error.errno == errno.EACCES or worst != errno.EACCES:
                worst = error.errno
    raise OSError(worst, os.strerror(worst))


def is_text(path):
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return bool(head) and b"\0" not in head


# The tracer


class Tracer:
    """The loop over notifications, and what happens at each tick."""

    def __init__(self, control, alive, listener, page, child, order):
        self.control, self.alive, self.listener, self.page, self.child = control, alive, listener, page, child
        self.order = order
        self.scratch = order["scratch"]
        log = os.open(os.path.join(self.scratch, "tracer.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2, inheritable=False)
        os.close(log)
        target = os.open(
            os.path.join(self.scratch, "trace"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        # Held as long as the tracer lives: who can take it knows that nobody will write the end any more.
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.recorder = recorder.Recorder(order, target, page)
        self.answered = 0
        self.due = True
        self.next_tick = 0.0
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
        page, listener, recorder_ = self.page, self.listener, self.recorder
        incoming, outgoing = memoryview(page)[:ANSWER], memoryview(page)[ANSWER:]
        ioctl, pread, readlink = fcntl.ioctl, os.pread, os.readlink
        unpack, receive, send = seccomp.NOTIFICATION.unpack_from, seccomp.RECV, seccomp.SEND
        nothing, size = bytes(80), recorder.READ_AT_ONCE
        native, _width, calls = seccomp.tables()[0]
        openat, here = calls["openat"], recorder.HERE
        processes = recorder_.processes
        interesting = recorder.CHANGING
        beyond = self.beyond()
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
                            found = recorder_.attach(pid)
                        memory, view = found
                        raw = pread(memory, size, path)
                        end = raw.find(b"\0")
                        raw = raw[:end] if end > 0 else recorder_.text(pid, path)
                        if raw[:1] != b"/" and raw:
                            if folder & 0xFFFFFFFF == here and view.own:
                                raw = readlink(b"/proc/%d/cwd" % pid) + b"/" + raw
                            else:
                                raw = recorder_.absolute(pid, folder, raw)
                        if raw and (raw not in view.reads or flags & interesting) and recorder_.recording:
                            recorder_.will_open(pid, view, raw, flags)
                    else:
                        beyond[architecture, number](pid, folder, path, flags, a3, a4)
                except recorder.NoName:
                    pass  # the call will fail, or what it names has no path
                except Exception as error:
                    recorder_.failed(pid, error)
                page[ANSWER : ANSWER + 8] = page[:8]
                try:
                    ioctl(listener, send, outgoing)
                except OSError:
                    pass  # it was interrupted or killed meanwhile
                answered += 1
        finally:
            self.answered += answered

    def beyond(self):
        """(architecture, number) -> what to do with the arguments, for all but the most frequent call."""
        found = {}
        for architecture, width, calls in seccomp.tables():
            for name, number in calls.items():
                what = getattr(Calls(self.recorder, width), name.replace("x32_", ""))
                found[architecture, number] = what
                if architecture == seccomp.X86_64[0]:
                    found[architecture, number | seccomp.X32_BIT] = what
        return found

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
        self.recorder.forget_all()
        self.recorder.flush()
        if not self.alone and select.select([self.control], [], [], 0)[0]:
            self.listen()
        if self.alone:
            self.beat()
            if self.ended and now > self.ended["clock"] + GRACE:
                self.stop = True

    def listen(self):
        """The supervisor says that it is enough, or is gone."""
        message, _descriptors = hear(self.control)
        if message is None:
            self.alone = True
        elif message.get("stop"):
            self.stop = True

    def beat(self):
        """In the place of a supervisor that was killed."""
        path = self.order.get("heartbeat")
        if path:
            try:
                with open(path, "w") as file:
                    json.dump({"pid": os.getpid(), "started": started_at(), "supervisor": False}, file)
            except OSError:
                pass

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
            if pid == self.child:
                self.child_ended(status)

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
        self.recorder.end({"answered": self.answered, "left": self.left, "cpu": round(time.process_time(), 4)})
        self.alive.send(b"q")
        say(self.control, {"done": self.facts()})

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
        path = os.path.join(self.scratch, "end.json")
        with open(path + ".new", "w") as file:
            json.dump(dict(self.facts(), whole=whole), file)
        os.replace(path + ".new", path)


class Calls:
    """The system calls but openat, by name: what each means for the recorder. `width`: bytes of a pointer."""

    def __init__(self, record, width):
        self.record, self.width = record, width

    def path(self, pid, folder, address):
        return self.named(pid, folder, self.record.text(pid, address))

    def named(self, pid, folder, raw):
        found = self.record.absolute(pid, folder, raw) if raw else None
        if found is None:
            raise recorder.NoName(raw)
        return found

    def view(self, pid):
        return (self.record.processes.get(pid) or self.record.attach(pid))[1]

    def openat(self, pid, folder, path, flags, *_):
        if self.record.recording:
            full = self.path(pid, folder, path)
            self.record.will_open(pid, self.view(pid), full, flags)

    def open(self, pid, path, flags, *_):
        self.openat(pid, recorder.HERE, path, flags)

    def creat(self, pid, path, *_):
        self.openat(pid, recorder.HERE, path, 1 | recorder.CREATE | recorder.TRUNCATE)

    def openat2(self, pid, folder, path, how, *_):
        self.openat(pid, folder, path, int.from_bytes(self.record.read(pid, how, 8), sys.byteorder))

    def execveat(self, pid, folder, path, argv, _environment=0, flags=0, *_):
        raw = self.record.text(pid, path)
        full = self.record.absolute(pid, folder, raw) if raw or flags & recorder.EMPTY_PATH else None
        if full is not None:
            self.record.executed(pid, self.view(pid), full, self.record.arguments(pid, argv, self.width))
        self.record.forget(pid)

    def execve(self, pid, path, argv, *_):
        self.execveat(pid, recorder.HERE, path, argv)

    def renameat2(self, pid, folder, source, other, target, flags=0):
        if self.record.recording:
            source, target = self.path(pid, folder, source), self.path(pid, other, target)
            self.record.renamed(pid, self.view(pid), source, target, bool(flags & recorder.EXCHANGE))

    def renameat(self, pid, folder, source, other, target, *_):
        self.renameat2(pid, folder, source, other, target)

    def rename(self, pid, source, target, *_):
        self.renameat2(pid, recorder.HERE, source, recorder.HERE, target)

    def unlinkat(self, pid, folder, path, flags, *_):
        if self.record.recording and not flags & recorder.REMOVE_FOLDER:
            full = self.path(pid, folder, path)
            self.record.removed(pid, self.view(pid), full)

    def unlink(self, pid, path, *_):
        self.unlinkat(pid, recorder.HERE, path, 0)

    def truncate(self, pid, path, *_):
        if self.record.recording:
            full = self.path(pid, recorder.HERE, path)
            self.record.truncated(pid, self.view(pid), full)

    truncate64 = truncate

    def linkat(self, pid, folder, source, other, target, flags=0):
        if self.record.recording:
            raw = self.record.text(pid, source)
            origin = self.record.absolute(pid, folder, raw)
            full = self.path(pid, other, target)
            self.record.linked(pid, self.view(pid), origin, full, bool(flags & recorder.FOLLOW))

    def link(self, pid, source, target, *_):
        self.linkat(pid, recorder.HERE, source, recorder.HERE, target)

    def symlinkat(self, pid, _text, folder, path, *_):
        if self.record.recording:
            full = self.path(pid, folder, path)
            self.record.symlinked(pid, self.view(pid), full)

    def symlink(self, pid, text, path, *_):
        self.symlinkat(pid, text, recorder.HERE, path)

    def connect(self, pid, descriptor, address, size, *_):
        if self.record.recording:
            self.record.connected(pid, descriptor, self.record.read(pid, address, min(size & 0xFFFFFFFF, 128)))

    def socketcall(self, pid, call, address, *_):
        if call == 3:
            block = self.record.read(pid, address, 12)
            self.connect(pid, *(int.from_bytes(block[at : at + 4], sys.byteorder) for at in (0, 4, 8)))

    def io_uring_setup(self, pid, *_):
        if self.record.recording:
            self.record.note("io_uring was used: files that were opened through it are not seen")

    def open_by_handle_at(self, pid, *_):
        if self.record.recording:
            self.record.note("files were opened by handle (open_by_handle_at): these are not seen")


def started_at():
    """When this process started, in the kernel's clock: with the pid it names a process for good."""
    try:
        with open("/proc/self/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


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


# The guard


def stand_guard(channel, watched, listener, page, others):
    """Start the guard, as nobody's child."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    try:
        if os.fork():
            os._exit(0)
        for each in others:
            each.close()
        close_others({channel.fileno(), watched.fileno(), listener})
        Guard(channel, watched, listener, page).run()
    finally:
        os._exit(0)


class Guard:
    """Sleeps, until one of the others dies or hangs."""

    def __init__(self, channel, watched, listener, page):
        self.channel, self.watched, self.listener, self.page = channel, watched, listener, page
        self.buffer = bytearray(PAGE)
        self.buffer[ANSWER : ANSWER + 24] = seccomp.RESPONSE.pack(0, 0, 0, seccomp.CONTINUE)
        self.traced = True
        self.over = False
        self.supervised = True
        self.streams = {}
        """Descriptor of output -> (letter, file, bytes so far)."""
        self.order = None
        self.last = (0, 0.0)

    def run(self):
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.watched, select.POLLIN)
        while self.needed():
            for number, events in poll.poll(int(STUCK * 500)):
                if number == self.channel.fileno():
                    self.supervisor_speaks(poll)
                elif number == self.watched.fileno():
                    self.tracer_speaks(poll)
                elif number == self.listener:
                    if events & select.POLLHUP:
                        poll.unregister(number)
                        self.listener = -1
                    else:
                        self.answer()
                elif number in self.streams and not self.drain(number):
                    poll.unregister(number)
                    self.close(number)
            if self.traced:
                self.look_after()

    def needed(self):
        return self.traced or self.supervised or self.listener >= 0 or bool(self.streams)

    def supervisor_speaks(self, poll):
        message, descriptors = hear(self.channel)
        if message is not None and "over" in message:
            self.over = True
            return
        if message is not None:
            self.order = message
            if message.get("group") is not None:
                self.join(message["group"])
            for letter, number in zip(message["streams"], descriptors):
                self.streams[number] = letter
            return
        poll.unregister(self.channel)
        self.supervised = False
        for number in self.streams:
            poll.register(number, select.POLLIN)

    def join(self, group):
        """Become a member of the command's group, to tell which signals went to all of it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
            signal.signal(number, self.heard)
        try:
            os.setpgid(0, group)
        except OSError:
            pass

    def heard(self, number, _frame):
        try:
            self.channel.send(bytes([number]), socket.MSG_DONTWAIT)
        except OSError:
            pass

    def tracer_speaks(self, poll):
        try:
            said = self.watched.recv(16)
        except OSError:
            said = b""
        if said:
            self.over = True
            return
        poll.unregister(self.watched)
        self.traced = False
        if self.listener >= 0:
            self.let_go(self.page[:8])
            poll.register(self.listener, select.POLLIN)

    def look_after(self):
        """A tracer that waits for a file system which waits for the command would wait for ever."""
        ident, now = int.from_bytes(self.page[:8], sys.byteorder), time.monotonic()
        if ident == 0 or ident != self.last[0]:
            self.last = (ident, now)
        elif now - self.last[1] >= STUCK and self.listener >= 0:
            if not self.page[recorder.KEEPING]:
                self.page[recorder.UNSEEN] = 1
                self.let_go(self.page[:8])
            poll = select.poll()
            poll.register(self.listener, select.POLLIN)
            while int.from_bytes(self.page[:8], sys.byteorder) == ident and not self.tracer_is_gone():
                if any(events & select.POLLIN for _number, events in poll.poll(50)):
                    self.answer()

    def tracer_is_gone(self):
        poll = select.poll()
        poll.register(self.watched, 0)
        return any(events & select.POLLHUP for _number, events in poll.poll(0))

    def answer(self):
        """Let a call go on, unseen."""
        self.buffer[:80] = bytes(80)
        try:
            fcntl.ioctl(self.listener, seccomp.RECV, self.buffer)
        except OSError:
            return
        self.let_go(self.buffer[:8])

    def let_go(self, ident):
        self.buffer[ANSWER : ANSWER + 8] = ident
        try:
            fcntl.ioctl(self.listener, seccomp.SEND, memoryview(self.buffer)[ANSWER:])
        except OSError:
            pass  # it was answered, or its process is gone

    def drain(self, number):
        """Take output that nobody else takes any more; False at its end."""
        try:
            data = os.read(number, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data and not self.over:
            self.keep(self.streams[number], data)
        return bool(data)

    def keep(self, letter, data):
        names = {"o": "stdout", "e": "stderr"}
        try:
            path = os.path.join(self.order["scratch"], names[letter])
            with open(path, "ab", buffering=0) as file:
                offset = file.tell()
                file.write(data)
            with open(os.path.join(self.order["scratch"], "lines"), "a") as file:
                file.write("%d %s %d\n" % (time.time_ns(), letter, offset))
        except OSError:
            pass

    def close(self, number):
        del self.streams[number]
        os.close(number)
