# The image of besnet: docker build --tag besnet . ; docker run --rm besnet --help
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/besnet
COPY constraints.txt pyproject.toml README.md ./
COPY besnet besnet
RUN /opt/besnet/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM ${BASE_IMAGE}
COPY --from=build /opt/besnet /opt/besnet
COPY configs /app/configs
RUN useradd --create-home --uid 1000 besnet
ENV PATH=/opt/besnet/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
USER besnet
WORKDIR /app
ENTRYPOINT ["besnet"]
CMD ["--help"]
