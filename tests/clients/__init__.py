"""Programs as users of the clients write them.

Each is run by ``tests/live/test_clients.py`` in the environment that ``environment.py`` makes, with the address of a
live server as its first argument, and prints what it got as JSON. Nothing of the server is imported here.
"""
