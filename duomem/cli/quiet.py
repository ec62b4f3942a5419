"""Libraries' own progress bars and warnings, off for a command: what it does, it says itself.

Each is told in the way that the library offers; who sets a variable themselves is heard.
"""

from __future__ import annotations

import os
import sys
import warnings

_VARIABLES = {
    "TQDM_DISABLE": "1",  # transformers' reader of GGUF files, gguf's writer
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers reads it too: "Loading weights", "Writing model shards"
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "PYTHONWARNINGS": "ignore",  # of processes that are started
}


def silence_libraries() -> None:
    """Must come before they are imported: most read these once."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
