"""Units, containers and pages say what the command line takes, and systemd takes the units."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest
import typer.main
import yaml

from hocket.cli.main import app
from hocket.experiment import load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.toml"))]


def check(command: str) -> str:
    """Parse a line that begins with ``hocket``; the name of its command."""
    words = shlex.split(re.sub(r"\$?\$\([^)]*\)", "X", command), comments=True)
    words = words[: next((i for i, w in enumerate(words) if w in ("|", "&&", ";")), len(words))]
    group = typer.main.get_command(app)
    name = words[1]
    chosen = group.commands[name]  # type: ignore[attr-defined]
    chosen.make_context(name, words[2:]).close()
    return name


def unit(path: Path) -> RawConfigParser:
    """A unit's settings."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_a_unit_starts_what_there_is(path: Path, tmp_path: Path) -> None:
    start = unit(path)["Service"]["ExecStart"]
    assert check(start.replace("/opt/hocket/bin/", "", 1)) == ("serve" if "server" in path.name else "join")
    if shutil.which("systemd-analyze") is None:
        return
    here = tmp_path / path.name
    here.write_text(path.read_text().replace("/opt/hocket/bin/hocket", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(here)], capture_output=True, text=True)
    assert done.returncode == 0 and path.name not in done.stderr, done.stderr


def test_the_containers_start_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services, volumes = compose["services"], set(compose["volumes"])
    named = {}
    for name, service in services.items():
        (line,) = re.findall(r"exec (hocket .*)\"$", " ".join(service["command"].split()))
        named[name] = check(line)
        for volume in service["volumes"]:
            assert volume.split(":")[0] in volumes | {"../.."}
        for needed in service.get("depends_on", {}):
            assert needed in services and "healthcheck" in services[needed]
        extras = re.findall(r"'\.\[(.*?)\]'", service["command"])[0].split(",")
        assert set(extras) <= set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
    assert named == {"server": "serve", "device1": "join", "device2": "join"}
    assert load(ROOT / "examples" / "laptop.toml").fleet is not None  # what they serve


def lines(page: Path) -> Iterator[str]:
    """Lines of a page that are commands: in blocks of code, or behind the # of a file, continued ones in one piece."""
    text = page.read_text().replace("\\\n#", " ").replace("\\\n", " ")
    inside = page.suffix == ".toml"
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside and (found := re.match(r"^(?:#\s+|\$ )?(hocket [a-z]+ .*)$", line.strip())):
            yield re.sub(r"\s{2,}\(.*\)$", "", found[1])


def test_the_pages_say_what_there_is() -> None:
    found = [check(line) for page in PAGES for line in lines(page)]
    assert len(found) > 12 and {"serve", "join", "operate", "simulate"} <= set(found)
