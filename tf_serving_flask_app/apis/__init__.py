"""The routes, one file a protocol: the only place, with ``app.py``, that knows Flask.

Each file has ``create_blueprint(repository, ...)``; ``app.py`` lists them.
"""
