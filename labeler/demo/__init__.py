"""A small real dataset and what it takes to open it as a project: the first thing a stranger sees."""
