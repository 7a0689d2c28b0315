"""What the server tells about itself: log lines, access lines, profiles and metrics."""
