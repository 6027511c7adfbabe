"""``hocket serve``, ``hocket join`` and ``hocket operate``."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from hocket.errors import InvalidInput, MissingExtra
from hocket.experiment import load

COMMANDS = ("status", "metrics", "fleet", "pause", "resume", "end", "drain", "stop", "revoke", "invite")
_POST = {"drain": "/drain", "stop": "/stop"}
_NAMED = {"pause": "task", "resume": "task", "end": "task", "revoke": "client", "fleet": "file"}


def need_service() -> None:
    """Make sure that what the service is built on is installed.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import aiohttp  # noqa: F401
        import cryptography  # noqa: F401
        import prometheus_client  # noqa: F401
    except ImportError as e:
        raise MissingExtra(f"{e.name} is not installed; pip install 'hocket[service]'") from None


def serve(
    file: Path, changes: Sequence[str], out: Path | None, data: Path | None, invite: int, options: dict[str, object]
) -> None:
    """Serve an experiment until it is over.

    Raises:
        InvalidInput: the experiment, or the way it is to be served.
    """
    need_service()
    from hocket.cli.table import show
    from hocket.experiment import folder
    from hocket.files import replace
    from hocket.service.identity import write_secret
    from hocket.service.serve import Options, Service, Serving

    if invite < 0:
        raise InvalidInput(f"invite = {invite}: must be 0 or more tokens")
    where = out or Path("runs") / file.stem
    service = Service(load(file, changes, data), where, Options(**options))  # type: ignore[arg-type]

    def up(serving: Serving) -> None:
        host = serving.host
        if host.replayed:
            state = host.server.state
            print(
                f"recovered in {serving.recovery:.2f} s: {host.replayed} events from the journal, {state.updates} "
                f"updates, {len(state.leases)} open leases; this is term {host.term}"
            )
        if invite:
            path, tokens = where / "tokens", serving.register.invite(invite)
            replace(path, lambda p: write_secret(p, "".join(f"{t}\n" for t in tokens).encode()))
            print(f"{invite} one-time tokens are in {path}")
        trust = "" if serving.ca is None else f" --ca {serving.ca}"
        url = reached(serving.url, service.options.names)
        print(f"serving {serving.url}; devices: hocket join {url}{trust} --token TOKEN", flush=True)

    if service.run(up) is None:
        print(f"stopped; the same command goes on with the run in {where}", file=sys.stderr)
        return
    show(folder.views(where))
    print(folder.write_report(where))


def reached(url: str, names: Sequence[str]) -> str:
    """The address of a server as devices call it.

    >>> reached("https://127.0.0.1:8440", ()), reached("https://0.0.0.0:8440", ("fl.example.org",))
    ('https://127.0.0.1:8440', 'https://fl.example.org:8440')
    >>> reached("https://[::]:8440", ())
    'https://HOST:8440'
    """
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    if host in ("0.0.0.0", "[::]"):
        host = names[0] if names else "HOST"
    return f"{scheme}://{host}:{port}"


def join(url: str, folder: Path, options: dict[str, object]) -> None:
    """Be a device of a served run.

    Raises:
        InvalidInput: the server refuses this device.
    """
    need_service()
    from hocket.service.join import INTERRUPTED, Options
    from hocket.service.join import join as work

    why = work(url, folder, Options(**options), lambda line: print(line, flush=True))  # type: ignore[arg-type]
    if why == INTERRUPTED:
        print(f"stopped; the same command goes on with what {folder} remembers", file=sys.stderr)
        return
    print(f"finished: {why}")


def operate(folder: Path, command: str, name: str | None, count: int, client: int | None) -> None:
    """Ask the service of a run directory something, or tell it to do something; print what it says.

    Raises:
        InvalidInput: no such command, or nothing serves there.
    """
    need_service()
    from hocket.service.operate import ask

    if command not in COMMANDS:
        raise InvalidInput(f"operate {command}: no such command; allowed: {', '.join(COMMANDS)}")
    if (command in _NAMED) != (name is not None):
        wanted = f"give a {_NAMED[command]}" if command in _NAMED else "leave it out"
        raise InvalidInput(f"operate {command} {name or ''}: {wanted}")
    if command == "fleet" and name is not None:
        data = ask(folder, "GET", "/fleet")
        Path(name).write_bytes(data)
        print(f'{name}: a fleet for hocket simulate, [fleet] kind = "parquet", path = "{name}"')
        return
    if command == "metrics":
        print(ask(folder, "GET", "/metrics").decode(), end="")
        return
    if command == "invite":
        query = f"count={count}" if client is None else f"client={client}"
        print("\n".join(json.loads(ask(folder, "POST", f"/invite?{query}"))["tokens"]))
        return
    if command == "revoke" and name is not None and not (name.isascii() and name.isdigit() and len(name) < 10):
        raise InvalidInput(
            f"operate revoke {name}: give the number of a client, as the event log and the device say it"
        )
    named = f"/{command}/{quote(name or '', safe='')}"
    method, path = ("GET", "/status") if command == "status" else ("POST", _POST.get(command, named))
    print(json.dumps(json.loads(ask(folder, method, path)), indent=2))
