"""An environment per system, under a folder that git ignores; made once, and again when its pins change."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.table import ENVIRONMENTS


def interpreter(name: str, folder: Path) -> Path:
    """The environment's Python."""
    return folder / name / "bin" / "python"


def install(name: str, folder: Path) -> str | None:
    """Make the environment if it is not there; what pip said if it could not."""
    home, pins = folder / name, "\n".join(ENVIRONMENTS[name])
    stamp = home / "pins"
    if stamp.exists() and stamp.read_text() == pins:
        return None
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(interpreter(name, folder)), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name]]
    made = subprocess.run(pip, capture_output=True, text=True)
    if made.returncode == 0:
        stamp.write_text(pins)
        return None
    errors = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or made.stderr.splitlines()[-1:]
    shutil.rmtree(home)
    return " ".join(line if len(line) < 300 else f"{line[:150]} ... {line[-100:]}" for line in errors)
