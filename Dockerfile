# Builds the gateway from pinned, hash-checked wheels and runs it without root.
#
#   docker build -t building-gateway .
#   docker run --read-only --cap-drop ALL -v /etc/gateway:/etc/gateway:ro -v gateway-state:/var/lib/gateway \
#     -e INFODECK_SIGNING_SECRET -p 8443:8443 -p 502:5020 building-gateway
#
# For a serial line, add --device /dev/ttyUSB0 --group-add dialout. In gateway.yaml, Modbus listens on
# 0.0.0.0:5020 then, for clients in `allow`: behind -p, Docker may show all of them as its own bridge.
# BACnet needs --network host instead of -p, which forwards no broadcasts.
#
# No Docker engine was at hand when this was written: the file is linted, what it copies is checked to exist
# and the wheel is built by a test, but the image itself has not been built. The base is named by version:
# append the digest that your registry shows (python:3.13-slim-trixie@sha256:…) to pin the very same base.

FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/gateway/.venv \
 && /opt/gateway/.venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements/run.txt \
 && python -m pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/gateway/.venv/bin/python -m pip install --no-cache-dir --no-deps --no-index --find-links /wheels building-gateway

FROM python:3.13-slim-trixie
ENV PATH=/opt/gateway/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/gateway/.venv /opt/gateway/.venv
# Numeric, so that Kubernetes' runAsNonRoot can check it; the account needs no name.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/gateway
USER 10001:10001
VOLUME /var/lib/gateway
# Webhooks over TLS, and Modbus; the admin server stays on the container's loopback.
EXPOSE 8443 5020
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9680/healthz', timeout=4)"]
ENTRYPOINT ["gateway"]
CMD ["run", "-c", "/etc/gateway/gateway.yaml"]
