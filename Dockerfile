# The image of besnet: docker build --build-arg REVISION=$(git rev-parse --short=12 HEAD) --tag besnet .
# Try it: docker run --rm besnet --help. On a GPU host: docker/compose.yaml. The whole proof: make smoke-container.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

# Every package by its exact version, in a layer that only changes with the list of packages.
FROM ${BASE_IMAGE} AS packages
WORKDIR /src
RUN python -m venv /opt/besnet
COPY constraints.txt pyproject.toml ./
RUN mkdir besnet && touch besnet/__init__.py README.md \
    && /opt/besnet/bin/pip install --no-cache-dir --constraint constraints.txt '.[export,s3,gcs]' \
    && /opt/besnet/bin/pip uninstall --yes besnet

FROM ${BASE_IMAGE} AS code
WORKDIR /src
COPY pyproject.toml README.md ./
COPY besnet besnet
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${BASE_IMAGE}
# `--compile` needs a compiler: Triton builds its launchers with one.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 besnet && mkdir -p /app/data /app/runs && chown besnet /app/data /app/runs
COPY --from=packages /opt/besnet /opt/besnet
# Copied, not mounted, and the revision before it: old builders take a cached layer whatever lies in a mount or a variable.
COPY --from=code /wheels /wheels
ARG REVISION=
RUN /opt/besnet/bin/pip install --no-cache-dir --no-deps --no-index --find-links /wheels besnet \
    && echo "besnet $REVISION"
COPY configs /app/configs
# The root may be read-only and the user any: what torch and matplotlib keep for themselves goes to /tmp.
ENV PATH=/opt/besnet/bin:$PATH USER=besnet HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib BESNET_REVISION=$REVISION
USER 1000
WORKDIR /app
ENTRYPOINT ["besnet"]
CMD ["--help"]
