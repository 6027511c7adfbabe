"""A fleet under a virtual clock: the same server, clients and book as a deployment, without the waiting."""
