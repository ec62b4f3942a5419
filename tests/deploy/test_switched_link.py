"""A bundle that a link names is deployed as it was verified, though the link leads elsewhere meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from devices import Bundles, FolderTransport

from duomem.deploy import deploy as module
from duomem.deploy.deploy import deploy
from duomem.device.engine.bundle import Bundle, read_bundle


def test_the_verified_bundle_is_deployed(bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundles.old)

    def switch(path: Path) -> Bundle:
        bundle = read_bundle(path)
        link.unlink()
        link.symlink_to(bundles.new)
        return bundle

    monkeypatch.setattr(module, "read_bundle", switch)
    (tmp_path / "home").mkdir()
    deployed = deploy(FolderTransport(tmp_path / "home"), "d", link)
    found = read_bundle(Path(deployed.folder) / "versions" / deployed.version)
    assert found.manifest == read_bundle(bundles.old).manifest
