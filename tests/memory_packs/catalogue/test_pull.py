"""Search, pull, play by name, update, remove: as a user types it, against a catalogue on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.request import Request

import pytest
from catalogues import Keeper, Server, make_pack, serving

from duomem.cli.main import main
from duomem.core.errors import CatalogueError
from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.fetch import Redirects
from duomem.memory_packs.catalogue.lock import locked
from duomem.memory_packs.catalogue.pull import pull, search, update
from duomem.memory_packs.catalogue.sources import read_sources
from duomem.memory_packs.catalogue.tuf_api import DownloadError
from duomem.memory_packs.pack import read_pack

ROOT = Path(__file__).parents[3]


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    """What the command prints; of one that fails, its one line."""
    assert main([*map(str, words)]) == status
    out, err = capsys.readouterr()
    if status:
        assert err.count("\n") == 1 and err.startswith("duomem: error: ") and not out
    return err if status else out


def first_root(keeper: Keeper) -> Path:
    return keeper.folder / "metadata" / "1.root.json"


def test_from_nothing_to_recall(keeper: Keeper, server: Server, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no catalogue is known: add one" in run(capsys, "pack", "search", status=1)
    assert ": 1 packs, root keys " in run(capsys, "pack", "catalogue", "add", server.url, "--root", first_root(keeper))
    assert run(capsys, "pack", "catalogue", "list") == f"{server.url}\n"
    found = json.loads(run(capsys, "pack", "search", "EXPERT", "clean", "--json"))["found"]
    assert [(p["name"], p["version"], p["entries"], p["licence"]) for p in found] == [
        ("expert", "1.0.0", 2, "Apache-2.0")
    ]
    assert "nothing of which 'nothing' is said" in run(capsys, "pack", "search", "nothing", status=1)
    info = run(capsys, "pack", "info", "expert")
    assert "pick_clean_then_place_in_recep" in info and "measured: nothing" in info
    assert not [path for path, _ in server.asked if path.endswith(".dmpack")]  # all that without a download
    assert run(capsys, "pack", "pull", "expert").startswith(
        f"installed: expert 1.0.0 (pack) from {server.url}, verified 20"
    )
    assert run(capsys, "pack", "pull", "expert@1.0.0").startswith("up to date: expert 1.0.0")
    main(["pack", "recall", "expert", "put a clean mug in shelf 1."])
    out, err = capsys.readouterr()
    assert "clean mug 1.0.0" in out and err.startswith("duomem: expert 1.0.0 (pack) from ")

    keeper.publish("1.1.0")
    assert run(capsys, "pack", "update").startswith("updated: expert 1.1.0")
    assert run(capsys, "pack", "update", "expert").startswith("up to date: expert 1.1.0")
    assert run(capsys, "pack", "pull", "expert@1.0.0").startswith("installed: expert 1.0.0")
    server.server.shutdown()
    server.server.server_close()
    assert "vouched for until 20" in run(capsys, "pack", "list")
    listed = json.loads(run(capsys, "pack", "list", "--json"))["installed"]
    assert [(p["name"], p["version"]) for p in listed] == [("expert", "1.0.0")]
    assert "cannot be read: Connection refused" in run(capsys, "pack", "update", status=1)
    assert run(capsys, "pack", "remove", "expert") == "removed: expert 1.0.0\n"
    assert "expert: no such memory pack" in run(capsys, "pack", "show", "expert", status=1)
    assert run(capsys, "pack", "catalogue", "remove", server.url) == f"{server.url}: forgotten\n"
    assert not list(home.rglob("*.dmpack")) and read_sources() == []


def test_a_path_comes_before_a_name(
    keeper: Keeper, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pull("expert", [keeper.source(server.url)])
    monkeypatch.chdir(tmp_path)
    make_pack(tmp_path, "here", "3.0.0").rename(tmp_path / "expert")
    main(["pack", "show", "expert"])
    out, err = capsys.readouterr()
    assert "here" in out and err == ""


def test_an_expired_timestamp_is_told_and_stops_nothing(
    keeper: Keeper, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = pull("expert", [keeper.source(server.url)])
    record = store.packs_folder() / "expert.json"
    record.write_text(record.read_text().replace(found.trust.expires, "2020-01-01"))
    assert main(["pack", "recall", "expert", "clean mug"]) == 0
    assert "vouched for until 2020-01-01, which is past" in capsys.readouterr().err


def test_a_download_goes_on_where_it_stopped(keeper: Keeper, server: Server) -> None:
    keeper.publish("2.0.0", tasks=200)
    (file,) = (keeper.folder / "targets" / "expert").glob("*2.0.0.dmpack")
    whole, source = file.read_bytes(), keeper.source(server.url)
    file.write_bytes(whole[:2000])
    with pytest.raises(CatalogueError, match=r"ended after 2000 of \d+ bytes: the same command goes on"):
        pull("expert", [source])
    file.write_bytes(whole)
    assert pull("expert", [source])[0].path.read_bytes() == whole
    assert (f"/targets/expert/{file.name}", "bytes=2000-") in server.asked
    assert not list((store.packs_folder().parent / "downloads").iterdir())


def test_a_server_without_ranges(keeper: Keeper, server: Server) -> None:
    keeper.publish("2.0.0", tasks=200)
    source = keeper.source(server.url)
    (entry,) = (one.entry for one in search([], [source]).found)
    part = store.part_file(entry)
    part.parent.mkdir()
    part.write_bytes(b"x" * 100)  # and the part is of something else
    (file,) = (keeper.folder / "targets" / "expert").glob("*2.0.0.dmpack")

    def all_of_it(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path.endswith(file.name):
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + file.read_bytes())
        return path.endswith(file.name)

    server.hook(all_of_it)
    assert pull("expert", [source])[0].version == "2.0.0"


def test_a_part_of_something_else_is_thrown_away(keeper: Keeper, server: Server) -> None:
    source = keeper.source(server.url)
    (entry,) = (one.entry for one in search([], [source]).found)
    part = store.part_file(entry)
    part.parent.mkdir()
    part.write_bytes(b"x" * 100)
    with pytest.raises(CatalogueError, match="do not belong together or were changed"):
        pull("expert", [source])
    assert not part.exists() and pull("expert", [source])[1]


def test_mirrors(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """The first address is dead, the second serves another's files, the third has metadata but not the pack."""
    shutil.copytree(keeper.folder / "metadata", tmp_path / "half" / "metadata")
    other = Keeper(tmp_path / "other")
    other.publish("1.0.0")
    with serving(other.folder) as bad, serving(tmp_path / "half") as half:
        source = keeper.source("http://127.0.0.1:9", bad.url, half.url, server.url)
        found, _ = pull("expert", [source])
    assert found.trust.catalogue == source.url and read_pack(found.path).version == "1.0.0"


def test_a_name_is_taken_from_one_catalogue(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    other = Keeper(tmp_path / "other")
    other.publish("9.0.0")
    mine, theirs = keeper.source(server.url), other.source(other.folder.as_uri())
    dead = other.source("http://127.0.0.1:9")
    with pytest.raises(CatalogueError, match=r"expert: is listed by http://.* and file:///.*: say which"):
        pull("expert", [mine, theirs])
    with pytest.raises(CatalogueError, match=r"refused.*; to take expert from another catalogue, name that"):
        pull("expert", [mine, dead])
    assert len(search([], [mine, theirs]).found) == 2 and len(search([], [mine, dead]).notes) == 1
    pull("expert", [mine])
    with pytest.raises(CatalogueError, match=r"expert: is installed from http://"):
        pull("expert", [theirs])
    assert [(one.version, new) for one, new in update([], [theirs, mine])] == [("1.0.0", False)]


def test_two_at_once(keeper: Keeper, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both end well; one that waits too long says so, and reading waits for nobody."""
    source = keeper.source(server.url)
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(pull("expert", [source])[1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    monkeypatch.setattr("duomem.memory_packs.catalogue.lock.locked.__wrapped__.__defaults__", (0.1,))
    with locked(home / "packs"):
        assert len(store.installed()) == 1
        with pytest.raises(CatalogueError, match="another duomem is changing what is in it"):
            store.remove("expert")


@pytest.mark.parametrize(
    "url", ["", "packs", "ftp://x/y", "http://", "http://[", "http://x:99999999/", "http://x/?q", "http://x/\x1b[31m"]
)
def test_addresses_that_are_none(keeper: Keeper, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "pack", "search", "--catalogue", url, "--root", first_root(keeper), status=1)
    assert "is no address of a catalogue" in said and said.strip().isprintable()


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"signed": {"_type": "targets"}}', '{"signed": {"_type": "root"}}'])
def test_a_root_that_is_none(server: Server, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root.json").write_text(data)
    run(capsys, "pack", "catalogue", "add", server.url, "--root", tmp_path / "root.json", status=1)
    assert read_sources() == []


@pytest.mark.parametrize("text", ["[]", '{"format": "duomem-installed"}', "\x1b", '{"name": "../x"}'])
def test_a_damaged_record_is_named(keeper: Keeper, server: Server, text: str) -> None:
    """And nothing is swept away meanwhile."""
    found, _ = pull("expert", [keeper.source(server.url)])
    (store.packs_folder() / "expert.json").write_text(text)
    with pytest.raises(Exception, match=r"expert\.json: (is no record|record of what is installed is not valid)"):
        pull("expert", [keeper.source(server.url)])
    assert found.path.is_file()


def test_redirects(keeper: Keeper, server: Server) -> None:
    """From http to http, from https to https alone, and a few of them."""
    request = Request("https://a/b")
    assert Redirects().redirect_request(request, None, 302, "", {}, "https://c/d") is not None
    with pytest.raises(DownloadError, match="not followed"):
        Redirects().redirect_request(request, None, 302, "", {}, "http://c/d")
    with serving(keeper.folder) as moved:
        for target, pattern in (
            ("file:///etc/passwd", "it answers 302"),
            ("ftp://x/y", "sends on to 'ftp://x/y', which is not followed"),
            ("/", "it answers 302"),
        ):

            def send_on(handler: BaseHTTPRequestHandler, path: str, target: str = target) -> bool:
                handler.wfile.write(f"HTTP/1.0 302 Found\r\nLocation: {target}\r\n\r\n".encode())
                return True

            moved.hook(send_on)
            with pytest.raises(CatalogueError, match=pattern):
                search([], [keeper.source(moved.url)])
        moved.hook(lambda handler, path: send_on(handler, path, f"{server.url}{path}"))
        assert pull("expert", [keeper.source(moved.url)])[1]


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys\nsys.modules['tuf'] = None\nfrom duomem.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "pack", "keys", "new", str(tmp_path / "keys")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "need the extra `packs`" in done.stderr and "pip install 'duomem[packs]'" in done.stderr
    command = [sys.executable, "-c", program, "pack", "list"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
