"""Serve TensorFlow models over HTTP: Flask on gunicorn, pictures and tensors in, labels and tensors out."""

__version__ = "0.1.0"
