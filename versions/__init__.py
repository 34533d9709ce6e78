"""Versions: working saves, snapshots, publishing, restoring and long work.

Live rows come from ``annotations``, files are made by ``exports``; a table row becomes
an export row in ``snapshots`` and nowhere else, the way back is ``restoring``.
"""
