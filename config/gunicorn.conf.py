"""gunicorn's settings that do not follow from the environment; GUNICORN_CMD_ARGS overrides each of them.

https://gunicorn.org/reference/settings/ describes them all.
"""

import os

# The control socket is served by a thread of the master, and a process with threads must not fork.
control_socket_disable = True

# Connections that the kernel accepts while every worker is busy; what is beyond is refused by the operating system.
backlog = 2048

# Open connections of a worker. A waiting one costs little: with the eventlet worker a green thread, no native one.
worker_connections = 1000

# Seconds that a connection stays open for its next request. Longer than most clients' own pause, and short enough
# that a load balancer soon spreads its connections again.
keepalive = 5

# Seconds that a stopping worker gives to the requests it has begun; as long as REQUEST_TIMEOUT_S by default.
graceful_timeout = 30

# Seconds without a heartbeat after which a worker is taken for hung and killed. This is no deadline for requests, as
# they do not run where the heartbeat is; REQUEST_TIMEOUT_S is that.
timeout = 120

# The heartbeat is a file; on a disk that is slow for a while it would stop for no fault of the worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
