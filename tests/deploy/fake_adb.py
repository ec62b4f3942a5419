"""An `adb` that plays a device over the folder $FAKE_ADB_ROOT: what it says and how it exits as adb 34 does.

$FAKE_ADB_STATE: device (default), none, two, unauthorized, offline, full. $FAKE_ADB_PATH: the device's PATH.
$FAKE_ADB_CUT: a file with the number of commands until the cable is pulled, in the middle of one.
Serial of the device: PHONE1.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = os.environ["FAKE_ADB_ROOT"]
STATE = os.environ.get("FAKE_ADB_STATE", "device")
FOLDER = "/data/local/tmp"


def fail(message: str) -> None:
    sys.stderr.write(f"adb: {message}\n")
    sys.exit(1)


def pulled() -> bool:
    """Whether the cable is pulled during this command."""
    path = os.environ.get("FAKE_ADB_CUT")
    if not path:
        return False
    left = int(Path(path).read_text()) - 1
    Path(path).write_text(str(left))
    if left < 0:
        fail("no devices/emulators found")
    return left == 0


def shell(script: bytes, cut: bool) -> int:
    """The device's shell; a cut sends it half of the script and nobody hears the answer."""
    script = script.replace(FOLDER.encode(), (ROOT + FOLDER).encode())
    done = subprocess.run(
        ["sh"],
        input=script[: len(script) // 2] if cut else script,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": os.environ.get("FAKE_ADB_PATH", "/usr/bin:/bin")},
    )
    if cut:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.buffer.write(done.stdout.replace((ROOT + FOLDER).encode(), FOLDER.encode()))
    return done.returncode


def push(local: str, remote: str, cut: bool) -> int:
    data = Path(local).read_bytes()
    try:
        with open(ROOT + remote, "wb") as f:
            f.write(data[: len(data) // 2] if cut or STATE == "full" else data)
    except OSError as e:
        sys.stderr.write(
            f"adb: error: failed to copy '{local}' to '{remote}': remote couldn't create file: {e.strerror}\n"
        )
        return 1
    if cut:
        os.kill(os.getpid(), signal.SIGKILL)
    if STATE == "full":
        sys.stderr.write(
            f"adb: error: failed to copy '{local}' to '{remote}': remote write failed: No space left on device\n"
        )
        return 1
    print(f"{local}: 1 file pushed, 0 skipped. 11.4 MB/s ({len(data)} bytes in 0.001s)")
    return 0


arguments = sys.argv[1:]
serial = None
if arguments[:1] == ["-s"]:
    serial, arguments = arguments[1], arguments[2:]
if serial not in (None, "PHONE1"):
    fail(f"device '{serial}' not found")
if STATE == "none":
    fail("no devices/emulators found")
if STATE == "two" and serial is None:
    fail("more than one device/emulator")
if STATE == "unauthorized":
    fail(
        "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems "
        "wrong.\nOtherwise check for a confirmation dialog on your device."
    )
if STATE == "offline":
    fail("device offline")
now = pulled()
if arguments[0] == "shell":
    assert arguments[1:] == ["sh"], arguments
    sys.exit(shell(sys.stdin.buffer.read(), now))
if arguments[0] == "push":
    sys.exit(push(arguments[1], arguments[2], now))
if arguments[0] == "exec-out":
    sys.exit(shell(" ".join(arguments[1:]).encode(), now))
fail(f"unknown command {arguments[0]}")
