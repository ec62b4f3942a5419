"""What the catalogue uses of python-tuf and securesystemslib; the one place that imports them.

Where the extra `packs` is not installed, importing this is one line that says so.
"""

# pyright: reportPrivateImportUsage=false
from __future__ import annotations

from duomem.core.errors import CatalogueError

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.exceptions import Error as KeyFault
    from securesystemslib.signer import CryptoSigner, Key, SSlibKey
    from tuf.api.exceptions import (
        BadVersionNumberError,
        DownloadError,
        DownloadHTTPError,
        DownloadLengthMismatchError,
        ExpiredMetadataError,
        LengthOrHashMismatchError,
        RepositoryError,
        SlowRetrievalError,
        UnsignedMetadataError,
    )
    from tuf.api.metadata import (
        DelegatedRole,
        Delegations,
        Metadata,
        MetaFile,
        Role,
        Root,
        Snapshot,
        TargetFile,
        Targets,
        Timestamp,
    )
    from tuf.api.serialization.json import JSONSerializer
    from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig
except ImportError as e:
    raise CatalogueError(
        f"catalogues of memory packs need the extra `packs` ({e}): pip install 'duomem[packs]'"
    ) from None

__all__ = [
    "BadVersionNumberError",
    "CryptoSigner",
    "DelegatedRole",
    "Delegations",
    "DownloadError",
    "DownloadHTTPError",
    "DownloadLengthMismatchError",
    "Ed25519PublicKey",
    "ExpiredMetadataError",
    "FetcherInterface",
    "JSONSerializer",
    "Key",
    "KeyFault",
    "LengthOrHashMismatchError",
    "MetaFile",
    "Metadata",
    "RepositoryError",
    "Role",
    "Root",
    "SSlibKey",
    "SlowRetrievalError",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "UnsignedMetadataError",
    "Updater",
    "UpdaterConfig",
    "load_pem_private_key",
]
