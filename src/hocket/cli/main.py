"""The commands, and the one place where an error becomes a line on standard error and an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from hocket import __version__
from hocket.errors import HocketError, InvalidInput, StoreFailed
from hocket.simulation.run import Interrupted

INTERRUPTED = 130

Edits = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, e.g. until.accuracy=0.8; may be repeated."),
]
Seeds = Annotated[str | None, typer.Option(metavar="A:B", help="One run per seed from A to B-1, each in DIR/seed-N.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with runs that were interrupted.")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the data sets (HOCKET_DATA if not given).")]
Jobs = Annotated[int, typer.Option(metavar="N", help="Processes for runs side by side.")]

app = typer.Typer(
    help="Federated learning for fleets that are slow, uneven and only sometimes there.",
    add_completion=False,
    suggest_commands=False,  # click does
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` by default) and return its exit code.

    0: done. 1 and 3: a claim is outside its band, or without data. 2: bad input. 130: interrupted.
    Otherwise the ``exit_code`` of a :class:`hocket.HocketError`.
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
        advice, code = _ADVICE.get(error.errno or 0, ("", 1))
        return _fail(f"error: {where}{error.strerror or error}{advice}", code)


_ELSEWHERE = ("; give another place to write to", InvalidInput.exit_code)
_FULL = (
    "; make room: the same command with --resume goes on from the last checkpoint, and hocket report DIR writes the "
    "page of a run that is finished",
    StoreFailed.exit_code,
)
_ADVICE = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR), _ELSEWHERE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _FULL),
}
"""By what the system said: what to do, and the exit code."""


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
    edits: Edits = None,
    seeds: Seeds = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory (runs/ and the file's name if not given).")
    ] = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    sinks: Annotated[
        list[str] | None,
        typer.Option("--sink", metavar="KIND:DIR", help="Tell jsonl, tensorboard, mlflow or wandb; may be repeated."),
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it will take, and do not run it.")] = False,
    data: Data = None,
    faults: Annotated[
        str | None,
        typer.Option(metavar="SEED", help="Run it in a world that misbehaves, check every invariant, write nothing."),
    ] = None,
) -> None:
    """Run an experiment under a virtual clock."""
    from hocket.cli import commands

    if faults is not None:
        given = {"--seeds": seeds, "--out": out, "--resume": resume, "--sink": sinks, "--estimate": estimate}
        commands.simulate_with_faults(file, edits or [], faults, data, [name for name, value in given.items() if value])
        return
    if estimate:
        commands.estimate(file, edits or [], data)
        return
    commands.simulate(file, edits or [], seeds, out, resume, jobs, sinks or [], data)


@app.command()
def plan(
    file: Annotated[Path, typer.Argument(help="The experiment, in TOML, or its devices, in Parquet.")],
    edits: Edits = None,
    objective: Annotated[
        str, typer.Option(metavar="time|rounds|throughput|energy", help="What is to be least (or most).")
    ] = "time",
    energy: Annotated[float, typer.Option(metavar="RHO", help="Weight of energy beside time, 0 to 1.")] = 0.0,
    watts: Annotated[
        str | None, typer.Option(metavar="C,D,U", help="Watts of a device that computes, downloads, uploads.")
    ] = None,
    in_flight: Annotated[int | None, typer.Option(metavar="M", help="Jobs in flight, instead of the best.")] = None,
    most: Annotated[int | None, typer.Option(metavar="M", help="Jobs in flight that are tried at most.")] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Estimate the learning constants from a few gradients.")
    ] = False,
    updates: Annotated[
        int | None,
        typer.Option(
            "--simulate",
            metavar="N",
            help="Updates to check the formulas by; 0 for none, left out: enough, up to 300,000.",
        ),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take how fast devices are from the event log of a run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page, its figures, and the plan as a strategy.")
    ] = None,
    data: Data = None,
) -> None:
    """Foretell throughput and staleness, and the routing and concurrency that are best."""
    from hocket.cli import commands

    commands.plan(
        file, edits or [], objective=objective, energy=energy, watts=watts, in_flight=in_flight, most=most,
        noise=noise, updates=updates, history=history, out=out, data=data,
    )  # fmt: skip


@app.command()
def compare(
    sources: Annotated[list[Path], typer.Argument(metavar="A B ...", help="Experiments in TOML, or run directories.")],
    edits: Edits = None,
    seeds: Seeds = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the runs, compare.json and the page go.")] = Path(
        "runs/compare"
    ),
    resume: Resume = False,
    jobs: Jobs = 1,
    data: Data = None,
) -> None:
    """Set experiments side by side: time and bytes to the target, accuracy, staleness."""
    from hocket.cli import commands

    commands.compare(sources, edits or [], seeds, out, resume, jobs, data)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run directories, or ones that hold several.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write the page.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every figure there as well, as SVG.")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="Figures as PNG too; needs the extra 'figures'.")] = False,
) -> None:
    """Write one page of runs, finished or not: report.html in DIR, or here when there are several."""
    from hocket.cli import commands

    commands.report(folders, out, figures, png)


@app.command()
def replay(
    journal: Annotated[Path, typer.Argument(metavar="JOURNAL", help="The folder that a recorded run wrote.")],
    file: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="Its experiment, in TOML.")],
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value as the run did; may be repeated."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="FACT", help="A fact the run measured of every update, e.g. finite; may be repeated."),
    ] = None,
    carry_on: Annotated[
        bool, typer.Option("--continue", help="Carry on from its end as a simulation, and print the summary.")
    ] = False,
) -> None:
    """Run a journal again and print the digest of the state it ends in."""
    from hocket.cli import commands

    commands.replay(journal, file, edits or [], tuple(measure or ()), carry_on)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME|all", help="A claim, or all of them.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller runs: at most ten minutes on two cores each.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the verdicts there.")] = None,
    data: Data = None,
) -> int:
    """Measure published figures: exit code 0 inside their bands, 1 outside, 3 without the data."""
    from hocket.cli import commands

    if data is not None:
        os.environ["HOCKET_DATA"] = str(data)  # where claims look for it

    return commands.reproduce(name, quick, out)


@app.command()
def story(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, finished or not.")],
    name: Annotated[str, typer.Argument(metavar="CLIENT|LEASE", help="client:12 or lease:345.")],
) -> None:
    """Show everything that happened to a client or a lease, in order."""
    from hocket.cli import commands

    commands.story(folder, name)


@app.command()
def serve(
    file: Annotated[Path, typer.Argument(help="The experiment, in TOML: the file that simulate takes.")],
    edits: Edits = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory; a run that is there goes on.")] = None,
    data: Data = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any.")] = 8440,
    certificate: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Certificate; without one, a development CA is made.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="The certificate's key.")] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", help="A name or address that a made certificate is for.")
    ] = None,
    clients: Annotated[
        Path | None, typer.Option("--client-ca", metavar="PEM", help="Devices must show a certificate of this CA.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No TLS; on a loopback address only.")] = False,
    invite: Annotated[int, typer.Option(metavar="N", help="Write N one-time tokens to DIR/tokens.")] = 0,
    patience: Annotated[float, typer.Option(metavar="S", help="Silence after which a device counts as gone.")] = 60.0,
    every: Annotated[int, typer.Option("--checkpoint", metavar="N", help="Updates between two checkpoints.")] = 1000,
    connections: Annotated[int, typer.Option(metavar="N", help="Connections of one address at once.")] = 10_000,
) -> None:
    """Run an experiment over a network: this is its server."""
    from hocket.cli import serve as service

    options: dict[str, object] = {
        "host": host, "port": port, "certificate": certificate, "key": key, "names": tuple(names or ()),
        "clients": clients, "plain": plain, "patience": patience, "hold": min(25.0, patience / 2),
        "every": every, "connections": connections,
    }  # fmt: skip
    service.serve(file, edits or [], out, data, invite, options)


@app.command()
def join(
    url: Annotated[str, typer.Argument(help="Of the server: https://HOST:PORT.")],
    folder: Annotated[Path, typer.Option("--state", metavar="DIR", help="What this device remembers.")] = Path(
        "device"
    ),
    token: Annotated[str, typer.Option(help="One-time token, for the first time.")] = "",
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="Authority of the server's certificate.")] = None,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="This device's own, for mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="The certificate's key.")] = None,
    data: Data = None,
    learner: Annotated[
        str | None, typer.Option(metavar="NAME", help="An installed learner (entry point hocket.learners).")
    ] = None,
    emulate: Annotated[bool, typer.Option("--emulate", help="Be as slow as this device of the fleet.")] = False,
    cache: Annotated[
        int, typer.Option(metavar="BYTES", help="Of models, and of parts of downloads, kept on disk at most.")
    ] = 1 << 33,
) -> None:
    """Be a device of a run that is served."""
    from hocket.cli import serve as service

    options: dict[str, object] = {
        "token": token, "ca": ca, "certificate": certificate, "key": key, "data": data, "learner": learner,
        "emulate": emulate, "cache": cache,
    }  # fmt: skip
    service.join(url, folder, options)


@app.command()
def operate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run directory of the server.")],
    command: Annotated[
        str, typer.Argument(help="status, metrics, fleet, pause, resume, end, drain, stop, revoke or invite.")
    ] = "status",
    name: Annotated[str | None, typer.Argument(metavar="TASK|CLIENT|FILE", help="What it is about.")] = None,
    count: Annotated[int, typer.Option(metavar="N", help="How many tokens (invite).")] = 1,
    client: Annotated[int | None, typer.Option(metavar="C", help="The client a token is for (invite).")] = None,
) -> None:
    """Look after a run that is served."""
    from hocket.cli import serve as service

    service.operate(folder, command, name, count, client)


def _fail(text: str, code: int) -> int:
    print(" ".join(text.split("\n")), file=sys.stderr, flush=True)
    return code
