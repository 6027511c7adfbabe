"""The service: the core in real time, within one process (``loopback``) or over a network (``serve``, ``join``)."""
