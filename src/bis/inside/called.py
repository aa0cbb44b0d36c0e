"""What AWS Lambda calls for a run: its command, in a copy of its files that is made anew for each event.

It is the package `bis_lambda` there, with the file `job.json` beside it: the command, where its files are, in which
folder it starts, and its variables.
"""

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOLD = 16 << 10
"""Characters of the end of what the command printed that are answered; all of it is in the log of the function."""
MOST = 1000
"""Files that are told one by one."""


class CommandFailed(Exception):
    """The command ended with another status than 0."""


def handler(event, context):
    """Run the command. Answers its status, the end of what it printed, and the files that it wrote, by their SHA-256:
    what it does not send away itself is gone then. Raises CommandFailed."""
    with open(os.path.join(HERE, "job.json"), encoding="utf-8") as file:
        job = json.load(file)
    with tempfile.TemporaryDirectory(prefix="bis-") as room:
        work = os.path.join(room, "work")
        _copy(os.path.join(HERE, job["files"]), work)
        before = _seen(work)
        begun = time.monotonic()
        status, told = _run(job, work)
        if status:
            raise CommandFailed("the command ended with the status %d: %s" % (status, told.strip()[-500:]))
        written = [path for path, seen in sorted(_seen(work).items()) if before.get(path) != seen]
        return {
            "status": status,
            "seconds": round(time.monotonic() - begun, 3),
            "output": told,
            "outputs": {path: _digest(os.path.join(work, path)) for path in written[:MOST]},
            "outputs_not_told": len(written[MOST:]),
        }


def _copy(files, work):
    """Whose files can be written to, whoever runs this."""
    if not os.path.isdir(files):
        os.mkdir(work)
        return
    shutil.copytree(files, work, symlinks=True, copy_function=shutil.copyfile)
    for folder, _, names in os.walk(work):
        os.chmod(folder, 0o755)
        for name in names:
            path = os.path.join(folder, name)
            source = os.path.join(files, os.path.relpath(path, work))
            if not os.path.islink(path) and os.access(source, os.X_OK):
                os.chmod(path, 0o755)


def _run(job, work):
    command = [word or sys.executable for word in job["command"]]
    variables = dict(os.environ, **job["variables"])
    if job["packages"]:
        variables["PYTHONPATH"] = os.path.normpath(os.path.join(HERE, job["packages"]))
    folder = os.path.join(work, job["folder"])
    os.makedirs(folder, exist_ok=True)
    last = collections.deque(maxlen=400)
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout:
            text = line.decode("utf-8", "replace")
            sys.stdout.write(text)
            last.append(text[-TOLD:])
    return process.returncode, "".join(last)[-TOLD:]


def _seen(work):
    """What tells whether a file was written: its size and its time."""
    found = {}
    for folder, _, names in os.walk(work):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                about = os.stat(path)
                found[os.path.relpath(path, work)] = (about.st_size, about.st_mtime_ns)
    return found


def _digest(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hasher.update(block)
    return "sha256:" + hasher.hexdigest()
