"""The `duomem` command's entry: collects the verbs, runs one, turns a UserError into one line and exit 1.

Each verb's module imports its heavy parts inside the command, so a device install starts fast.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from duomem.cli import bench, compare, deploy, doctor, evaluate, games, kit, pack, play, student, students, teach
from duomem.cli import compile as compile_verb
from duomem.core.errors import UserError

_VERBS = (games, teach, pack, students, student, compile_verb, play, evaluate, compare, bench, kit, deploy, doctor)
_INTERRUPTED = 130
_NOT_WRITABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.EBUSY,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="duomem",
        description="Distil a teacher into a small model and a memory pack, compile both, play ALFWorld offline.",
    )
    top.add_argument("--version", action="version", version=f"duomem {version('duomem')}")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in _VERBS:
        verb.add_parser(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a UserError, 130 for Ctrl-C."""
    args = parser().parse_args(arguments)
    try:
        status = args.func(args) or 0
        sys.stdout.flush()
        return status
    except UserError as e:
        print(f"duomem: error: {e}", file=sys.stderr)
    except KeyboardInterrupt:
        print("duomem: interrupted: finished work is kept, the same command goes on where it stopped", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_output()
    except OSError as e:
        if e.errno not in _NOT_WRITABLE:
            raise
        print(
            f"duomem: error: {e.filename or 'output'}: {e.strerror}: free space or give another place to write",
            file=sys.stderr,
        )
        _drop_output()
    return 1


def _drop_output() -> None:
    """What is still buffered for a closed pipe or a full disk would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
