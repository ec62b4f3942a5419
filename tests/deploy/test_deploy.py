"""Deploying to a folder behind each shell there is: what is copied, kept, switched, checked and deleted."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import FILES, write_bundle
from devices import SHELLS, Bundles, FolderTransport

from duomem.core.errors import UserError
from duomem.deploy import deploy as module
from duomem.deploy import lock
from duomem.deploy.deploy import deploy, rollback
from duomem.deploy.device_side import DeviceSide
from duomem.deploy.device_state import File, State, read_state

FOLDER = "it's a $HOME of `bundles`"
InUse = Callable[[Path], bytes]


@pytest.fixture
def device(tmp_path: Path) -> FolderTransport:
    home = tmp_path / "home"
    home.mkdir()
    return FolderTransport(home)


def _manifest(bundle: Path) -> bytes:
    return (bundle / "bundle.json").read_bytes()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_new_version_sends_what_changed(shell: str, device: FolderTransport, bundles: Bundles, in_use: InUse) -> None:
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"no {shell} here")
    device.shell = SHELLS[shell]
    root = device.home / FOLDER
    first = deploy(device, FOLDER, bundles.old)
    assert (first.sent_files, first.reused_files, first.previous, first.folder) == (6, 0, None, str(root))
    assert in_use(root) == _manifest(bundles.old)
    second = deploy(device, FOLDER, bundles.new)
    assert in_use(root) == _manifest(bundles.new)
    assert (second.sent_files, second.sent_bytes, second.reused_files) == (3, bundles.changed, 4)
    assert second.previous == first.version and second.changed
    shard = "model/params_shard_0.bin"
    assert (root / "current" / shard).samefile(root / "versions" / first.version / shard)
    back = rollback(device, FOLDER)
    assert in_use(root) == _manifest(bundles.old)
    assert (back.version, back.previous) == (first.version, second.version)
    rollback(device, FOLDER)
    assert in_use(root) == _manifest(bundles.new)


def test_the_same_bundle_again_does_nothing(device: FolderTransport, bundles: Bundles) -> None:
    deploy(device, "d", bundles.old)
    deploy(device, "d", bundles.new)
    before = {path: path.lstat().st_ctime_ns for path in (device.home / "d").rglob("*") if path.is_file()}
    again = deploy(device, "d", bundles.new)
    assert not again.changed and again.sent_bytes == 0 and again.previous is not None
    assert {path: path.lstat().st_ctime_ns for path in (device.home / "d").rglob("*") if path.is_file()} == before
    rollback(device, "d")


def test_android_has_no_hard_links(
    device: FolderTransport, bundles: Bundles, android_tools: Path, in_use: InUse
) -> None:
    device.env, device.shell = [f"PATH={android_tools}"], [str(android_tools / "sh")]
    first = deploy(device, "d", bundles.old)
    second = deploy(device, "d", bundles.new)
    assert second.sent_bytes == bundles.changed
    shard = "model/params_shard_0.bin"
    assert not (device.home / "d/current" / shard).samefile(device.home / "d/versions" / first.version / shard)
    rollback(device, "d")
    assert in_use(device.home / "d") == _manifest(bundles.old)


def test_only_the_previous_version_is_kept(device: FolderTransport, tmp_path: Path, in_use: InUse) -> None:
    root = device.home / "d"
    deploy(device, "d", write_bundle(tmp_path / "0"))
    (root / "versions" / "mine").mkdir()
    made = [deploy(device, "d", write_bundle(tmp_path / f"v{i}", {"packs/p": b"%d" % i})) for i in range(3)]
    assert {path.name for path in (root / "versions").iterdir()} == {made[1].version, made[2].version, "mine"}
    kept = {name for done in made[1:] for name in (done.version, f"{done.version}.previous")}
    assert {path.name for path in (root / "records").iterdir()} == kept
    assert not list((root / "incoming").iterdir()) and not list((root / "lock").iterdir())


def test_files_damaged_on_the_device_are_sent_again(device: FolderTransport, bundles: Bundles, in_use: InUse) -> None:
    """Even those an unchanged file would have been taken from, and whatever is damaged: bytes, links, strays."""
    root = device.home / "d"
    deploy(device, "d", bundles.old)
    deploy(device, "d", bundles.new)
    kept = rollback(device, "d").previous
    for damage in (
        lambda f: f.write_bytes(f.read_bytes()[:-1] + b"!"),
        lambda f: f.unlink(),
        lambda f: (f.unlink(), f.symlink_to("/etc/hostname")),
    ):
        damage(root / "current" / "model/params_shard_0.bin")
        done = deploy(device, "d", bundles.old)
        assert done.changed and done.previous == kept
        assert in_use(root) == _manifest(bundles.old)
    (root / "current" / "stray").write_text("x")
    assert deploy(device, "d", bundles.old).changed
    assert in_use(root) == _manifest(bundles.old)


def test_rollback_refuses_what_is_not_there_or_damaged(
    device: FolderTransport, bundles: Bundles, in_use: InUse
) -> None:
    with pytest.raises(UserError, match="no previous version"):
        rollback(device, "d")
    first = deploy(device, "d", bundles.old)
    with pytest.raises(UserError, match="no previous version"):
        rollback(device, "d")
    deploy(device, "d", bundles.new)
    (device.home / "d/versions" / first.version / "lib/cpu.so").write_bytes(b"other")
    with pytest.raises(UserError, match="damaged"):
        rollback(device, "d")
    assert in_use(device.home / "d") == _manifest(bundles.new)


@pytest.mark.parametrize(
    ("script", "outcome", "text"),
    [
        ("echo checking; echo 40 ms a token", "passed", "40 ms a token"),
        ("echo no python3 here; exit 3", "not run", "no python3 here"),
        ("echo logits differ; exit 1", "failed", "logits differ"),
        ("cat; exit 137", "failed", "it says nothing"),
        ("printf '\\033[31mred\\001\\n' >&2; exit 9", "failed", "[31mred"),
    ],
)
def test_the_bundles_own_check_decides(
    script: str,
    outcome: str,
    text: str,
    device: FolderTransport,
    bundles: Bundles,
    tmp_path: Path,
    in_use: InUse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run in the version's own folder before the switch: one that fails never becomes current."""
    monkeypatch.setattr(module, "check_command", lambda paths: f"[ -f bundle.json ] || exit 8\n{script}")
    monkeypatch.setattr(module, "CHECK_TIMEOUT", 20)
    deploy(device, "d", bundles.old, check=False)
    done = deploy(device, "d", bundles.new)
    assert (done.check.outcome, done.check.text) == (outcome, text)
    assert done.changed == (outcome != "failed")
    assert in_use(device.home / "d") == _manifest(bundles.new if done.changed else bundles.old)
    deploy(device, "d", bundles.new, check=False)
    assert in_use(device.home / "d") == _manifest(bundles.new)
    if outcome == "failed":
        assert not rollback(device, "d").changed
        assert in_use(device.home / "d") == _manifest(bundles.new)


def test_which_check_a_bundle_has() -> None:
    assert module.check_command(["bundle.json", "install.sh", "check"]) == "sh ./install.sh --check"
    assert module.check_command(["bundle.json", "check"]) == "sh ./check"
    assert "duomem doctor --bundle ." in module.check_command(["bundle.json", "lib/install.sh"])


def test_an_older_tool_can_still_switch(
    device: FolderTransport, bundles: Bundles, tmp_path: Path, in_use: InUse
) -> None:
    """`mv` that knows neither -T nor -h, as BSD's and old toybox' lack one or both."""
    tools = tmp_path / "tools"
    tools.mkdir()
    mv = tools / "mv"
    mv.write_text(
        f'#!/bin/sh\ncase "$1" in -fT|-fh) echo "mv: Unknown option" >&2; exit 1;; esac\n'
        f'exec {shutil.which("mv")} "$@"\n'
    )
    mv.chmod(0o755)
    device.env = [f"PATH={tools}:{os.environ['PATH']}"]
    deploy(device, "d", bundles.old)
    deploy(device, "d", bundles.new)
    assert in_use(device.home / "d") == _manifest(bundles.new)


def test_a_device_without_a_tool_says_which(device: FolderTransport, bundles: Bundles, android_tools: Path) -> None:
    (android_tools / "sha256sum").unlink()
    device.env, device.shell = [f"PATH={android_tools}"], [str(android_tools / "sh")]
    with pytest.raises(UserError, match="has no sha256sum"):
        deploy(device, "d", bundles.old)
    assert not (device.home / "d").exists()


def test_what_is_no_bundle_never_leaves(device: FolderTransport, bundles: Bundles, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles.old, damaged)
    (damaged / "lib/cpu.so").write_bytes(b"x")
    with pytest.raises(UserError, match=r"cpu\.so"):
        deploy(device, "d", damaged)
    assert not (device.home / "d").exists()


def test_a_folder_that_is_someones_own_is_left_alone(device: FolderTransport, bundles: Bundles) -> None:
    (device.home / "d/current").mkdir(parents=True)
    with pytest.raises(UserError, match="current is there and no link"):
        deploy(device, "d", bundles.old)
    assert [path.name for path in (device.home / "d").iterdir()] == ["current"]
    (device.home / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        deploy(device, "file/d", bundles.old)


def test_a_full_device_is_told_before_copying(device: FolderTransport, bundles: Bundles, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "df").write_text(
        "#!/bin/sh\necho Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        "echo /dev/root 100000 99990 10 100% /\n"
    )
    (tools / "df").chmod(0o755)
    device.env = [f"PATH={tools}:{os.environ['PATH']}"]
    with pytest.raises(UserError, match="0 MB are free"):
        deploy(device, "d", bundles.old)


def test_a_file_that_changes_while_copied_is_refused(
    device: FolderTransport, bundles: Bundles, in_use: InUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(device, "d", bundles.old)
    plain = FolderTransport.append

    def other(self: FolderTransport, source: Path, offset: int, size: int, path: str) -> None:
        plain(self, source, offset, size, path)
        (self.home / path).write_bytes(b"x" * size)

    monkeypatch.setattr(FolderTransport, "append", other)
    with pytest.raises(UserError, match="another digest"):
        deploy(device, "d", bundles.new)
    assert in_use(device.home / "d") == _manifest(bundles.old)


def test_lies_of_a_device_are_not_believed() -> None:
    """Names and paths a device tells come back to it in scripts: only what a deploy can have made is taken."""
    good = "a" * 20
    state = read_state(
        "\n".join(
            [
                "root /x",
                f"current versions/{good}",
                f"version {good}",
                "version ../../etc",
                "version x; rm -rf /",
                f"previous {good} ../../etc",
                f"file {good} {'0' * 64} ../../etc/passwd",
                f"file {good} nodigest a",
                f"file {good} {'0' * 64} model/a b",
                "part $(id) 5",
                "part x many",
                "",
                "overlay 100 50 49 50% /",
                f"record {'b' * 20}",
                "record ../x",
            ]
        )
    )
    assert state == State(
        "/x", good, [good], {good: [File("model/a b", "0" * 64)]}, {}, {"$(id)": 5}, ["b" * 20], 49 << 10
    )
    assert read_state("current versions/../..").current is None


def test_two_deploys_at_once(device: FolderTransport, bundles: Bundles, in_use: InUse) -> None:
    """Each waits or says who is at it; the device ends whole whichever is last."""
    errors: list[Exception] = []

    def one(bundle: Path) -> None:
        try:
            deploy(FolderTransport(device.home), "d", bundle)
        except UserError as e:
            errors.append(e)

    threads = [threading.Thread(target=one, args=(bundle,)) for bundle in (bundles.old, bundles.new) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) < len(threads)
    assert all("deploy" in str(e) for e in errors), errors
    assert in_use(device.home / "d") in (_manifest(bundles.old), _manifest(bundles.new))
    assert not list((device.home / "d/lock").iterdir())


def _claim(device: FolderTransport, name: str, age: int) -> Path:
    lock = device.home / "d" / "lock"
    lock.mkdir(parents=True, exist_ok=True)
    claim = lock / name
    claim.write_text(f"{int(os.path.getmtime(lock)) - age} someone@elsewhere\n")
    return claim


def test_a_live_deploy_is_not_disturbed(device: FolderTransport, bundles: Bundles) -> None:
    claim = _claim(device, f"{'e' * 16}-1-2-{'0' * 16}", 100)
    with pytest.raises(UserError, match=r"someone@elsewhere is deploying to it, last seen 1.. s ago"):
        deploy(device, "d", bundles.old)
    assert claim.exists() and [path.name for path in claim.parent.iterdir()] == [claim.name]


@pytest.mark.parametrize("whose", ["old", "dead process", "this process, earlier"])
def test_a_dead_deploy_is_taken_over(whose: str, device: FolderTransport, bundles: Bundles, in_use: InUse) -> None:
    me = f"{os.getpid()}-{lock._started(os.getpid())}"
    name = {
        "old": f"{'e' * 16}-1-2",
        "dead process": f"{lock._machine()}-{2**31 - 1}-5",
        "this process, earlier": f"{lock._machine()}-{me}",
    }[whose]
    _claim(device, f"{name}-{'0' * 16}", lock.STALE + 1 if whose == "old" else 5)
    deploy(device, "d", bundles.old)
    assert in_use(device.home / "d") == _manifest(bundles.old)


def test_a_deploy_that_lost_its_lock_stops(device: FolderTransport, bundles: Bundles) -> None:
    side = DeviceSide(device, "d", f"{'a' * 16}-1-2-{'0' * 16}")
    assert side.acquire("me", []) == []
    other = DeviceSide(device, "d", f"{'b' * 16}-1-2-{'0' * 16}")
    [claim] = other.acquire("you", [])
    assert (claim.name, claim.owner) == (f"{'a' * 16}-1-2-{'0' * 16}", "me") and 0 <= claim.age < 60
    assert other.acquire("you", [claim.name]) == []
    with pytest.raises(UserError, match="another deploy took over"):
        side.state()
    side.release()
    assert other.state().current is None


def test_a_claim_nobody_made_is_named(device: FolderTransport, bundles: Bundles) -> None:
    _claim(device, "mine.txt", 0)
    with pytest.raises(UserError, match=r"lock/mine\.txt is no claim"):
        deploy(device, "d", bundles.old)


def test_file_names_with_spaces_and_quotes(device: FolderTransport) -> None:
    side = DeviceSide(device, "d", f"{'a' * 16}-1-2-{'0' * 16}")
    side.acquire("me", [])
    name, data = "0" * 20, FILES["lib/cpu.so"]
    (device.home / "d/incoming/x").write_bytes(data)
    file = File('a b/it\'s $(x) `y` "z" *', hashlib.sha256(data).hexdigest(), len(data))
    side.assemble(name, [(file, "incoming/x")])
    assert (device.home / "d/versions" / name / file.path).read_bytes() == data
    state = side.state()
    assert state.records == {name: [File(file.path, file.sha256)]} and side.whole(name, state.records[name])


def test_status(device: FolderTransport, bundles: Bundles) -> None:
    """What is there, without the lock and without a trace."""
    nothing = module.status(device, FOLDER)
    assert (nothing.current, nothing.previous, nothing.versions, nothing.free) == (None, None, (), None)
    assert not (device.home / FOLDER).exists()
    old = deploy(device, FOLDER, bundles.old).version
    assert module.status(device, FOLDER).previous is None
    new = deploy(device, FOLDER, bundles.new).version
    (device.home / FOLDER / "lock" / f"{'e' * 16}-1-2-{'0' * 16}").write_text("9999999999 someone@elsewhere\n")
    before = sorted((device.home / FOLDER).rglob("*"))
    found = module.status(device, FOLDER)
    assert (found.device, found.folder) == ("folder", str(device.home / FOLDER))
    assert (found.current, found.previous, found.versions) == (new, old, tuple(sorted((old, new))))
    assert found.free and found.to_json()["current"] == new
    assert sorted((device.home / FOLDER).rglob("*")) == before
