"""What the service counts, for Prometheus, and what it writes into the run's event log."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hocket import actions as do
from hocket import events as on
from hocket.events import Event
from hocket.record.log import SEGMENT, EventLog
from hocket.service.host import Host
from hocket.service.messages import Answer, Message

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Meters:
    """All metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.accepted = Counter("hocket_updates_accepted", "Updates acknowledged as accepted", registry=r)
        self.refused = Counter("hocket_updates_refused", "Updates answered with a refusal", ["reason"], registry=r)
        self.rejected = Counter("hocket_requests_rejected", "Requests not done", ["why"], registry=r)
        self.steps = Counter("hocket_steps", "Steps of a model", ["task"], registry=r)
        self.sent = Counter("hocket_edge_bytes", "Bytes of edges sent to devices", registry=r)
        self.received = Counter("hocket_update_bytes", "Bytes of updates received from devices", registry=r)
        self.accept = Histogram(
            "hocket_accept_seconds", "From the last byte of an update to its answer", buckets=SECONDS, registry=r
        )
        self.online = Gauge("hocket_clients_online", "Clients that can be given work", registry=r)
        self.open = Gauge("hocket_leases_open", "Leases given out and not closed", registry=r)
        self.waiting = Gauge("hocket_exchanges_waiting", "Long polls that wait", registry=r)
        self.sessions = Gauge("hocket_sessions", "Sessions of devices", registry=r)
        self.shared = Gauge("hocket_identities_shared", "Openings refused: the client had a live session", registry=r)
        self.uploads = Gauge("hocket_upload_bytes_announced", "Bytes of updates that are on their way", registry=r)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class Watch:
    """Looks on in the core's thread: writes the event log and counts.

    A segment of the log is ready when a checkpoint is; what came after the last one is written again from the journal.
    """

    def __init__(self, meters: Meters, log: EventLog) -> None:
        self._meters, self._log = meters, log

    def recovered(self, host: Host) -> None:
        """Nothing to count."""

    def again(self, now: int, event: Event, actions: Sequence[do.Action]) -> None:
        """Write down."""
        self._log.add(now, event)
        for action in actions:
            self._log.add(now, action)

    def saving(self, events: int) -> None:
        """What came before a checkpoint is in the segments before it."""
        self._log.flush(events=events)

    def replayed(self, events: int) -> None:
        """What earlier lives wrote after the checkpoint is written again."""
        self._log.forget_events_after(events)

    def handled(self, host: Host, event: Event, body: bytes, actions: list[do.Action]) -> None:
        """Write an event and what it led to down."""
        self.again(host.now, event, actions)
        self._log.flush(SEGMENT, host.server.state.events)
        if isinstance(event, on.Stepped):
            self._meters.steps.labels(event.task).inc()

    def leaving(self, host: Host, message: Message) -> None:
        """Count an answer."""
        if isinstance(message, Answer):
            if message.reason:
                self._meters.refused.labels(message.reason.split()[0].rstrip(":")).inc()
            else:
                self._meters.accepted.inc()
