# The server as an image: no root user, no write to its root file system; README, "Docker", says how to run it.
#
# Any Debian or Ubuntu with Python 3.11 to 3.13 (python3, python3-venv) will do as a base.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# The build of the pinned TensorFlow: tensorflow-cpu, or tensorflow, which has GPU code too and is larger.
ARG TENSORFLOW=tensorflow-cpu
# Extras of setup.cfg, with commas.
ARG EXTRAS=
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
WORKDIR /build
COPY setup.cfg config/constraints.txt config/docker/lock.py ./
# pip stays in an environment of its own, so that none comes into the image.
RUN python3 -m venv pip && python3 -m venv --without-pip /opt/venv \
    && pip/bin/python lock.py "$TENSORFLOW" "$EXTRAS" >locked.txt \
    && pip/bin/python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --only-binary :all: \
    --requirement locked.txt
# What no server needs: headers, symbols for debuggers, and the libraries' own tests.
RUN cd /opt/venv/lib/python3.* \
    && echo /app >site-packages/app.pth \
    && rm -r site-packages/tensorflow/include \
    && strip --strip-unneeded site-packages/tensorflow/libtensorflow_*.so.* \
    && find site-packages -name '*.a' -delete \
    && find site-packages -type d -name tests -prune -exec rm -r {} +
WORKDIR /app
COPY LICENSE run.sh ./
COPY config config
COPY specs specs
COPY tf_serving_flask_app tf_serving_flask_app
# Bytecode now, as it cannot be written later; and readable, whatever the umask of the checkout.
RUN /opt/venv/bin/python -m compileall -q tf_serving_flask_app && chmod -R a+rX .

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG SOURCE=
LABEL org.opencontainers.image.title="tf_serving_flask_app" \
      org.opencontainers.image.description="Serve TensorFlow models over HTTP: Flask on gunicorn" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"
RUN groupadd --gid 10001 server \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
    --shell /usr/sbin/nologin server
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# With PYTHON set, run.sh makes no .venv.
ENV PYTHON=/opt/venv/bin/python \
    PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/venv/bin/python", "-I", "/app/config/docker/healthcheck.py"]
ENTRYPOINT ["/app/run.sh"]
