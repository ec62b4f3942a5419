"""What a process of the parity gate does: JOB.json in, JOB.result.json out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duomem.core.errors import UserError
from duomem.core.files import write_json


def run_job(measure: Callable[[dict[str, Any], Path], dict[str, Any]]) -> None:
    """Write `measure`(job, its folder) of the JOB.json named on the command line into JOB.result.json.

    A UserError ends the process with that line as the last of its error stream.
    """
    path = Path(sys.argv[1])
    try:
        result = measure(json.loads(path.read_text()), path.parent)
    except UserError as e:
        sys.exit(str(e))
    write_json(path.with_suffix(".result.json"), result)
