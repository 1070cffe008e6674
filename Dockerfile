# The daemon in an image: settings come from the environment (see config/bridge.example.env).

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY requirements.txt requirements-build.txt ./
RUN python -m venv /opt/mix-bridge \
    && /opt/mix-bridge/bin/python -m pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.txt \
    && python -m pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-build.txt \
    && python -m pip check
COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/mix-bridge/bin/python -m pip install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /opt/mix-bridge/bin/python -m pip check \
    && /opt/mix-bridge/bin/python -m pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
# Other containers and the probes of Kubernetes come from outside; the default, loopback, would be this container alone.
# `::` is IPv6 and IPv4, and IPv4 alone on a machine without IPv6.
ENV MIX_BRIDGE_HTTP__HOST=:: \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/mix-bridge /opt/mix-bridge
# Numeric, so that Kubernetes can see that it is not root (runAsNonRoot). Nothing is ever written to disk.
USER 10001:10001
WORKDIR /
EXPOSE 8090
# Exec form: SIGTERM reaches the daemon itself, which stops in order. No HEALTHCHECK: orchestrators ask /livez and /readyz.
ENTRYPOINT ["/opt/mix-bridge/bin/mix-bridge"]
CMD ["run"]
