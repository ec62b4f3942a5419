"""`duomem deploy`: copy a bundle to a device over ssh or adb and make it the current one, or go back.

Runs on the host; the device needs a POSIX sh with sha256sum.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from duomem.base.errors import UserError


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    parser = verbs.add_parser(
        "deploy", help="copy a bundle to a device over ssh or adb",
        description="Copy a bundle to a device: only what it has not, verified there, checked there, then switched to "
        "in one step. What was cut goes on with the same command; the version before stays for --rollback.")
    parser.add_argument("address", help="ssh://[user@]host[:port][/folder] (default folder: duomem in the home) or "
                        "adb[:serial][/folder] (default folder: /data/local/tmp/duomem)")
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="folder made by `duomem compile`")
    parser.add_argument("--rollback", action="store_true", help="switch back to the version before instead")
    parser.add_argument("--no-check", action="store_true", help="do not run the bundle's self-check on the device")
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help="ssh configuration instead of your own")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Deploy or roll back; 1 if the self-check failed on the device. Raises UserError."""
    from duomem.deploy.deploy import connect, deploy, rollback

    if args.rollback == (args.bundle is not None):
        raise UserError("deploy: give a BUNDLE or --rollback, one of the two")
    transport, folder = connect(args.address, args.ssh_config)
    with contextlib.closing(transport):
        if args.rollback:
            done = rollback(transport, folder, not args.no_check)
        else:
            done = deploy(transport, folder, args.bundle, not args.no_check)
    failed = done.check.outcome == "failed"
    if args.json:
        print(json.dumps(done.to_json()))
        return int(failed)
    place = f"{done.device}:{done.folder}"
    if failed:
        print(f"{place}: not switched, what was current still is: version {done.version} fails its self-check")
    elif args.rollback:
        print(f"{place}: back to version {done.version}; --rollback again returns to {done.previous}")
    elif done.changed:
        print(f"{place}: version {done.version} is current; sent {done.sent_files} files, "
              f"{done.sent_bytes / 1e6:.1f} MB, {done.reused_files} files were there")
    else:
        print(f"{place}: version {done.version} is there, whole and current: nothing to do")
    print(f"self-check: {done.check.outcome}: {done.check.text}")
    return int(failed)
