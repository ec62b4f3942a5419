"""Small wheels made here, of packages that need not be there."""

from __future__ import annotations

from pathlib import Path

from duomem.deploy.repack import write_wheel


def fake_wheel(folder: Path, name: str, tag: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A wheel of these files and the metadata that every one has."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n\n{name}\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    write_wheel(
        path,
        {
            **files,
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\n",
            f"{info}/licenses/LICENSE": b"do what you like",
        },
    )
    return path
