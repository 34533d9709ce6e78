"""What people work on: projects, members, classes, images, annotations and their history.

This room holds the live rows and every rule about them. It never touches an object
store, a queue or a version: the rooms above ask it.
"""
