"""A world that misbehaves, from one seed: the same server, book and clients under every fault they must survive."""
