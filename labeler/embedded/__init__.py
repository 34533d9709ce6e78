"""The embedded default: a real PostgreSQL, a real Redis (Valkey), web, worker and beat from one command.

No Django here (only the standard library and psycopg): this runs before anything is configured. No Docker, no root, no
system service; everything that is written lies under one folder.
"""
