"""Runs the application in gunicorn's processes; only this folder knows gunicorn, eventlet and gevent.

The master imports and forks, nothing else: nothing in here opens a thread, a session or a channel before the fork,
because none of them survives one (gunicorn #2369, #2259).
"""
