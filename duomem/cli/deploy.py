"""`duomem deploy`: copy a bundle to a device over ssh or adb and make it the current one, or go back.

Runs on the host; the device needs a POSIX sh with sha256sum.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from duomem.core.errors import UserError

if TYPE_CHECKING:
    from duomem.deploy.deploy import Deployed


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    parser = verbs.add_parser(
        "deploy",
        help="copy a bundle to a device over ssh or adb",
        description="Copy a bundle to a device: only what it has not, verified there, checked there, then switched to "
        "in one step. What was cut goes on with the same command; the version before stays for --rollback.",
    )
    parser.add_argument(
        "address",
        help="ssh://[user@]host[:port][/folder] (default folder: duomem in the home) or "
        "adb[:serial][/folder] (default folder: /data/local/tmp/duomem)",
    )
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="folder made by `duomem compile`")
    parser.add_argument("--rollback", action="store_true", help="switch back to the version before instead")
    parser.add_argument("--no-check", action="store_true", help="do not run the bundle's self-check on the device")
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help="ssh configuration instead of your own")
    parser.add_argument(
        "--bench",
        type=Path,
        metavar="DIR",
        help="then run the bundle's benchmark there: its JSON goes into DIR, bench.md there is of all",
    )
    parser.add_argument(
        "--bench-arguments",
        default="",
        metavar="TEXT",
        help="for that benchmark, as '--repetitions 3' (see duomem bench)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Deploy or roll back; 1 if the self-check failed on the device. Raises UserError."""
    from duomem.deploy.deploy import connect, deploy, rollback
    from duomem.deploy.remote_bench import bench_on_device, keep

    if args.rollback == (args.bundle is not None):
        raise UserError("deploy: give a BUNDLE or --rollback, one of the two")
    transport, folder = connect(args.address, args.ssh_config)
    with contextlib.closing(transport):
        if args.rollback:
            done = rollback(transport, folder, not args.no_check)
        else:
            done = deploy(transport, folder, args.bundle, not args.no_check)
        failed = done.check.outcome == "failed"
        _report(args, done, failed)
        if args.bench is not None and not failed:
            result = bench_on_device(transport, done.folder, shlex.split(args.bench_arguments))
            name = f"{args.bundle.resolve().name if args.bundle else 'rollback'}-{transport.name}"
            table = keep(result, name, args.bench).read_text(encoding="utf-8")
            print(json.dumps(result) if args.json else table, end="\n" if args.json else "")
    return int(failed)


def _report(args: argparse.Namespace, done: Deployed, failed: bool) -> None:
    if args.json:
        print(json.dumps(done.to_json()))
        return
    place = f"{done.device}:{done.folder}"
    if failed:
        print(f"{place}: not switched, what was current still is: version {done.version} fails its self-check")
    elif args.rollback:
        print(f"{place}: back to version {done.version}; --rollback again returns to {done.previous}")
    elif done.changed:
        print(
            f"{place}: version {done.version} is current; sent {done.sent_files} files, "
            f"{done.sent_bytes / 1e6:.1f} MB, {done.reused_files} files were there"
        )
    else:
        print(f"{place}: version {done.version} is there, whole and current: nothing to do")
    print(f"self-check: {done.check.outcome}: {done.check.text}")
