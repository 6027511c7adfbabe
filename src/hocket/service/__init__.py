"""The service: the core in real time; so far within one process, with a journal."""
