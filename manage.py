#!/usr/bin/env python
"""Django's command line for Labeler; `manage.py help` lists the commands."""

import os
import sys
from pathlib import Path


def use_running_servers() -> None:
    """Take the environment of the embedded servers, as their runner wrote it, when none is given."""
    data = Path(os.environ.get("LABELER_DATA", Path(__file__).resolve().parent / "var"))
    if "DATABASE_URL" in os.environ or not (data / "env").exists():
        return
    for line in (data / "env").read_text().splitlines():
        name, _, value = line.partition("=")
        os.environ.setdefault(name, value)


def main() -> None:
    """Run one management command on the settings the environment describes."""
    use_running_servers()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labeler.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"{error} (Or start Labeler once with `make run`: its commands then find its servers by themselves.)")


if __name__ == "__main__":
    main()
