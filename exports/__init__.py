"""Turning rows into files, and files into rows.

This room knows formats, object names, bytes and the two object stores. It has no
tables, no tasks and no HTTP: hand it rows and an open file and it writes DICE, COCO
and YOLO in a single pass; hand it a file and it yields rows. Which rows, and what
becomes of the file, is the caller's business.
"""
