# One image for every process; docker-compose.yml says which runs where. docs/deploy.md has the steps.
FROM python:3.11-slim

WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    REGIMES_HOME=/data

COPY requirements.lock .
RUN python -m venv .venv
RUN .venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements.lock

COPY pyproject.toml README.md regimes.toml dagster.yaml workspace.yaml ./
COPY regimes_dagster ./regimes_dagster
COPY dash_app ./dash_app
RUN .venv/bin/python -m pip install --quiet --no-cache-dir --no-deps --no-build-isolation -e .
RUN .venv/bin/python -m compileall -q .venv/lib regimes_dagster dash_app || true

RUN useradd --create-home --uid 10001 regimes && mkdir -p /data && chown regimes /data
USER regimes
VOLUME /data

# Everything in one container, with DB_URL or the embedded server.
CMD ["regimes", "up"]
