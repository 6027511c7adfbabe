"""What a run leaves, whichever driver ran it: event log, byte ledger, evaluation curve, summary."""
