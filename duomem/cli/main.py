"""The `duomem` command's entry: reads the command line, runs one command, turns an error into one line.

Exit status: 0, 2 for a wrong command line, 1 for every other UserError, 130 for Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from duomem.cli.baseline import baseline
from duomem.cli.bench import bench
from duomem.cli.compare import compare
from duomem.cli.compile import compile_command
from duomem.cli.completion import COMPLETE, completion
from duomem.cli.deploy import deploy
from duomem.cli.doctor import doctor
from duomem.cli.evaluate import evaluate
from duomem.cli.export import export
from duomem.cli.games import games
from duomem.cli.kit import kit
from duomem.cli.options import CommandGroup
from duomem.cli.pack import pack
from duomem.cli.play import play
from duomem.cli.quiet import silence_libraries
from duomem.cli.replay import replay
from duomem.cli.report import report
from duomem.cli.serve import serve
from duomem.cli.student import student
from duomem.cli.teach import teach
from duomem.cli.train import train
from duomem.cli.trajectories import trajectories
from duomem.cli.view import view
from duomem.cli.watch import watch
from duomem.core.errors import UserError, printable

_COMMANDS = (
    games,
    teach,
    trajectories,
    pack,
    student,
    train,
    compile_command,
    export,
    play,
    watch,
    replay,
    evaluate,
    baseline,
    report,
    view,
    compare,
    bench,
    serve,
    kit,
    deploy,
    doctor,
    completion,
)
_USAGE = 2
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


@click.group(
    cls=CommandGroup,
    commands={command.name or "": command for command in _COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
)
@click.version_option(package_name="duomem", message="%(prog)s %(version)s")
def cli() -> None:
    """Teach a small language model to play ALFWorld, compile it, and play offline on a device.

    A teacher's episodes become a LoRA adapter and a memory pack. The merged model is compiled into a bundle, and the
    bundle plays with the pack.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, `arguments` or those of the process; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    silence_libraries()
    try:
        if COMPLETE in os.environ:
            return shell_complete(cli, {}, "duomem", COMPLETE, os.environ[COMPLETE])
        with cli.make_context("duomem", list(words), obj=words) as ctx:
            status = cli.invoke(ctx) or 0
        sys.stdout.flush()
        return status
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.UsageError as e:
        command = e.ctx.command_path if e.ctx else "duomem"
        message = " ".join(e.format_message().split()).rstrip(".")
        _tell(f"{message}: see `{command} --help`")
        return _USAGE
    except UserError as e:
        _tell(str(e))
    except KeyboardInterrupt:
        print("duomem: interrupted: finished work is kept, the same command goes on where it stopped", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_output()
    except OSError as e:
        if e.errno not in _NOT_WRITABLE:
            raise
        _tell(f"{e.filename or 'output'}: {e.strerror}: free space or give another place to write")
        _drop_output()
    return 1


def _tell(message: str) -> None:
    """Every error that a command ends with goes through here to the terminal."""
    print(f"duomem: error: {printable(message)}", file=sys.stderr)


def _drop_output() -> None:
    """What is still buffered for a closed pipe or a full disk would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
