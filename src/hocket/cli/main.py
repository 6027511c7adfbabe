"""The commands, and the one place where an error becomes a line on standard error and an exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from hocket import __version__
from hocket.errors import HocketError
from hocket.simulation.run import Interrupted

INTERRUPTED = 130

app = typer.Typer(
    help="Federated learning for fleets that are slow, uneven and only sometimes there.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` by default) and return its exit code.

    0: done. 2: bad input. 130: interrupted. Otherwise the ``exit_code`` of a :class:`hocket.HocketError`.
    """
    try:
        code = app(None if arguments is None else list(arguments), "hocket", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        return _fail(f"error: {error.format_message()} (hocket --help lists what there is)", error.exit_code)
    except Interrupted as stop:
        return _fail(str(stop), stop.exit_code)
    except HocketError as error:
        return _fail(f"error: {error}", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {where}{error.strerror or error}", 1)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        print(f"hocket {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where to write; what an earlier demo left there is replaced.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Fixes the data, the devices and the runs.")] = 0,
) -> None:
    """Train on handwritten digits with FedAvg and with FedBuff, side by side."""
    from hocket.cli import commands

    commands.demo(out, seed)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="The experiment, in TOML.")],
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. until.accuracy=0.8; may be repeated."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="A:B", help="One run per seed from A to B-1, each in DIR/seed-N.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory (runs/ and the file's name if not given).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
) -> None:
    """Run an experiment under a virtual clock."""
    from hocket.cli import commands

    commands.simulate(file, edits or [], seeds, out, resume)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, or one that holds several.")],
) -> None:
    """Write report.html again from a finished run."""
    from hocket.cli import commands

    commands.report(folder)


@app.command()
def story(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, finished or not.")],
    name: Annotated[str, typer.Argument(metavar="CLIENT|LEASE", help="client:12 or lease:345.")],
) -> None:
    """Show everything that happened to a client or a lease, in order."""
    from hocket.cli import commands

    commands.story(folder, name)


def _fail(text: str, code: int) -> int:
    print(" ".join(text.split("\n")), file=sys.stderr, flush=True)
    return code
