"""The front door: settings, routes, the Celery app, the stores' backends, the runner.

It knows every room and is known by none; what a room needs from here it asks of
Django's registries by name (``settings.X``, ``storages["labeler"]``). Nothing is
imported here: the runner in ``labeler.embedded`` starts before Django is set up.
"""
