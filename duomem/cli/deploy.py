"""`duomem deploy`: copy a bundle to a device over ssh or adb and make it the current one, go back, or look.

Runs on the host; the device needs a POSIX sh with sha256sum.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import CommandGroup, check_bundle_digest, expect_bundle_option, json_option
from duomem.cli.values import BundleFolder, InputFile, OutputFolder
from duomem.core.errors import DeployError

if TYPE_CHECKING:
    from duomem.deploy.deploy import Deployed, Deployment
    from duomem.deploy.transport import Transport

_ADDRESS = (
    "ADDRESS is ssh://[user@]host[:port][/folder] (default folder: duomem in the home) or adb[:serial][/folder] "
    "(default folder: /data/local/tmp/duomem)."
)


class _Address(click.ParamType):
    """A device's address, as duomem.deploy.address reads it."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from duomem.deploy.address import parse_address

        try:
            parse_address(value)
        except DeployError as e:
            self.fail(str(e), param, ctx)
        return value


class _Words(click.ParamType):
    """Words as a shell splits them."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if not isinstance(value, str):
            return value
        try:
            return tuple(shlex.split(value))
        except ValueError as e:
            self.fail(f"{value!r}: {str(e)[:1].lower()}{str(e)[1:]}.", param, ctx)


_address_argument = click.argument("address", type=_Address())
_ssh_config_option = click.option(
    "--ssh-config",
    type=InputFile("ssh configuration"),
    metavar="FILE",
    help="ssh configuration to use.",
)


def _switch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those of the commands that make another version the current one."""
    for option in (
        json_option,
        click.option(
            "--bench-arguments",
            type=_Words(),
            default="",
            metavar="TEXT",
            help="Options of that benchmark, for example '--repetitions 3' (see `duomem bench`).",
        ),
        click.option(
            "--bench",
            "bench_folder",
            type=OutputFolder(),
            metavar="DIR",
            help="Then run the bundle's benchmark on the device. Its JSON goes into DIR, and bench.md there has all.",
        ),
        _ssh_config_option,
        click.option("--no-check", is_flag=True, help="Do not run the bundle's self-check on the device."),
    ):
        command = option(command)
    return command


@click.group(cls=CommandGroup)
def deploy() -> None:
    """Bring bundles to a device over ssh or adb."""


@deploy.command("push", epilog=_ADDRESS)
@_address_argument
@click.argument("bundle", type=BundleFolder())
@expect_bundle_option
@_switch_options
def push_command(
    address: str, bundle: Path, expect: str | None, ssh_config: Path | None, no_check: bool, **after: Any
) -> int:
    """Copy BUNDLE to the device at ADDRESS and make it the current one.

    Only files that the device does not have are copied. They are verified and the bundle is checked there, then it
    becomes the current one in one step. After a cut the same command goes on. The version before stays for a rollback.
    """
    from duomem.deploy import deploy as module

    if after["bench_arguments"] and after["bench_folder"] is None:
        raise click.UsageError("--bench-arguments: of which benchmark? Give --bench DIR too.")
    check_bundle_digest(bundle, expect)
    with _connected(address, ssh_config) as (transport, folder):
        done = module.deploy(transport, folder, bundle, not no_check)
        place = f"{done.device}:{done.folder}"
        if done.changed:
            text = (
                f"{place}: version {done.version} is current; sent {done.sent_files} files, "
                f"{done.sent_bytes / 1e6:.1f} MB, {done.reused_files} files were there"
            )
        else:
            text = f"{place}: version {done.version} is there, whole and current: nothing to do"
        return _finish(transport, done, text, bundle.resolve().name, **after)


@deploy.command("rollback", epilog=_ADDRESS)
@_address_argument
@_switch_options
def rollback_command(address: str, ssh_config: Path | None, no_check: bool, **after: Any) -> int:
    """Go back to the version before the current one, on the device at ADDRESS.

    It is verified and checked there first. A second rollback returns to where the first one began.
    """
    from duomem.deploy import deploy as module

    if after["bench_arguments"] and after["bench_folder"] is None:
        raise click.UsageError("--bench-arguments: of which benchmark? Give --bench DIR too.")
    with _connected(address, ssh_config) as (transport, folder):
        done = module.rollback(transport, folder, not no_check)
        text = (
            f"{done.device}:{done.folder}: back to version {done.version}; another rollback returns to {done.previous}"
        )
        return _finish(transport, done, text, "rollback", **after)


@deploy.command("status", epilog=_ADDRESS)
@_address_argument
@_ssh_config_option
@json_option
def status_command(address: str, ssh_config: Path | None, as_json: bool) -> None:
    """Print what is deployed on the device at ADDRESS.

    That is the versions that are there, which one is current, which one a rollback leads to, and the free space.
    Nothing on the device is changed.
    """
    from duomem.deploy import deploy as module

    with _connected(address, ssh_config) as (transport, folder):
        found = module.status(transport, folder)
    print(json.dumps(found.to_json()) if as_json else _status_text(found))


@contextlib.contextmanager
def _connected(address: str, ssh_config: Path | None) -> Iterator[tuple[Transport, str]]:
    from duomem.deploy.address import AdbAddress, parse_address
    from duomem.deploy.deploy import connect

    if ssh_config is not None and isinstance(parse_address(address), AdbAddress):
        raise click.UsageError(f"--ssh-config: {address} is reached by adb: leave it out.")
    transport, folder = connect(address, ssh_config)
    with contextlib.closing(transport):
        yield transport, folder


def _finish(
    transport: Transport,
    done: Deployed,
    text: str,
    name: str,
    bench_folder: Path | None,
    bench_arguments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Print what was done, then run the benchmark if asked for; 1 if the self-check failed."""
    from duomem.deploy.remote_bench import bench_on_device, keep

    failed = done.check.outcome == "failed"
    if failed:
        text = (
            f"{done.device}:{done.folder}: not switched, what was current still is: version {done.version} fails its "
            "self-check"
        )
    print(json.dumps(done.to_json()) if as_json else f"{text}\nself-check: {done.check.outcome}: {done.check.text}")
    if bench_folder is not None and not failed:
        result = bench_on_device(transport, done.folder, bench_arguments)
        table = keep(result, f"{name}-{transport.name}", bench_folder).read_text(encoding="utf-8")
        print(json.dumps(result) if as_json else table, end="\n" if as_json else "")
    return int(failed)


def _status_text(found: Deployment) -> str:
    place = f"{found.device}:{found.folder}"
    if not found.versions:
        return f"{place}: no version is deployed here"
    notes = {found.current: "current", found.previous: "previous, for a rollback"}
    lines = [f"{place}: {'version ' + found.current if found.current else 'no version'} is current"]
    lines += [f"  {name}{f'  {notes[name]}' if name in notes else ''}" for name in found.versions]
    if found.free is not None:
        lines.append(f"free: {found.free / 1e6:.0f} MB")
    return "\n".join(lines)
