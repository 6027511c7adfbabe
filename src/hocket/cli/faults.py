"""What happened to a run in a world with faults, in a few lines."""

from hocket.faults.outcome import Outcome


def show_outcome(o: Outcome) -> None:
    """Print the account of a run."""
    print("\n".join(lines(o)))


def lines(o: Outcome) -> list[str]:
    """The account, a line per subject."""
    out = [f"world {o.seed}: {', '.join(o.classes) or 'calm'}"]
    width = max(map(len, o.faults), default=0)
    out += [f"  {kind:{width}}  {count:>6,}" for kind, count in o.faults.items()]
    if not o.faults:
        out.append("  no faults")
    again = f" ({o.crashes - o.recoveries:,} of them while recovering)" if o.crashes > o.recoveries else ""
    mirror = f", {o.damaged:,} from a mirror of a damaged disk" if o.damaged else ""
    crashes, recoveries = _count(o.crashes, "crash", "crashes"), _count(o.recoveries, "recovery", "recoveries")
    out.append(f"server: {crashes}{again}, {recoveries}{mirror}")
    out.append(
        f"updates: {o.updates:,} accepted, {o.refused:,} refused, {_count(o.lost, 'lease', 'leases')} lost; "
        f"{o.acknowledged:,} acknowledged to a device, {o.uploads:,} sent in all"
    )
    for name, version in o.versions.items():
        metrics = "".join(f", {k} {v:.4g}" for k, v in sorted(o.metrics.get(name, {}).items()))
        out.append(f"{name}: version {version}{metrics}")
    if o.violated:
        out.append(f"violated after {o.time / 1e9:,.1f} s: {o.violated}")
    else:
        out.append(f"finished ({o.finished}) after {o.time / 1e9:,.1f} s; every invariant held; state {o.digest}")
    return out


def _count(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
