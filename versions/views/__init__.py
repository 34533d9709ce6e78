"""Doors of this room: check the shape, ask ``access``, call one function, nudge a worker, answer."""
