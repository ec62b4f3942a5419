"""Addresses of devices, right and hostile."""

from __future__ import annotations

import pytest

from duomem.core.errors import UserError
from duomem.deploy.address import AdbAddress, SshAddress, parse_address
from duomem.deploy.device_state import check_path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@raspberry", SshAddress("raspberry", "pi", None, "duomem")),
        ("ssh://raspberry.local/", SshAddress("raspberry.local", None, None, "duomem")),
        ("ssh://me@10.0.0.7:2222/opt/agent", SshAddress("10.0.0.7", "me", 2222, "/opt/agent")),
        ("ssh://h/~/agents/one", SshAddress("h", None, None, "agents/one")),
        ("ssh://h/srv/my%20agent//x/", SshAddress("h", None, None, "/srv/my agent/x")),
        ("ssh://h/srv/it's;$(here)", SshAddress("h", None, None, "/srv/it's;$(here)")),
        ("ssh://[fe80::1%eth0]:22/x", SshAddress("fe80::1%eth0", None, 22, "/x")),
        ("adb", AdbAddress(None, "/data/local/tmp/duomem")),
        ("adb:R58M12", AdbAddress("R58M12", "/data/local/tmp/duomem")),
        ("adb:192.168.1.5:5555/data/local/tmp/x", AdbAddress("192.168.1.5:5555", "/data/local/tmp/x")),
        ("adb/sdcard/x", AdbAddress(None, "/sdcard/x")),
    ],
)
def test_addresses(text: str, address: SshAddress | AdbAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "raspberry",
        "ssh:raspberry",
        "ssh://",
        "ssh://pi@",
        "http://h",
        "scp://h",
        "adbx",
        "ssh://-oProxyCommand=id",
        "ssh://-lroot@h",
        "ssh://pi@-h",
        "ssh://p i@h",
        "ssh://h h",
        "ssh://a@b@c",
        "ssh://h:0",
        "ssh://h:65536",
        "ssh://h:",
        "ssh://h:22x",
        "ssh://h:²",
        pytest.param(f"ssh://h:{'9' * 5000}", id="a long port"),
        "ssh://h/a%ff",
        "adb/a%ff",
        "ssh://h/../etc",
        "ssh://h/a/%2e%2e/b",
        "ssh://h/a/./b",
        "ssh://h/a/-rf",
        "ssh://h/~root/x",
        "ssh://h//",
        "ssh://h/~/",
        "ssh://h/a%0arm",
        "ssh://h/a\nb",
        "ssh://h/a%00",
        "ssh://$(id)@h",
        "ssh://h;id",
        "ssh://`id`",
        "adb:-H",
        "adb:a b",
        "adb:/x\x1b",
        "adb/",
        "adb:x/..",
        "ssh://[::1",
        "ssh://::1/x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_address(text)


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "../a", "a/./b", "-rf", "a/-b", "a\nb", "~x", "a\\b", " a", "a\x7f"]
)
def test_file_names_no_device_should_see(path: str) -> None:
    with pytest.raises(UserError):
        check_path(path)
    assert check_path(f"a b/it's $x{len(path)}") == f"a b/it's $x{len(path)}"
