# ct-daemon in a container. docs/how-to/docker.md leads from nothing to a running one.
#   docker build -t ct-daemon .
# Without a network: put the wheels of requirements.lock into deploy/wheels, and add
#   --network none --build-arg PIP_OPTIONS="--no-index --find-links wheels"
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS builder
ARG PIP_OPTIONS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/wheels wheels
COPY requirements.lock ./
# The environment has no pip of its own: nothing can be installed into a running container.
# hadolint ignore=SC2086
RUN python -m venv --without-pip /opt/ct-daemon \
    && python -m pip --python /opt/ct-daemon/bin/python install ${PIP_OPTIONS} --only-binary :all: \
        --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY ct_daemon ct_daemon
RUN python -m pip --python /opt/ct-daemon/bin/python install --no-deps --no-index --no-build-isolation . \
    && python -m pip --python /opt/ct-daemon/bin/python uninstall --yes flit_core

FROM ${BASE}
LABEL org.opencontainers.image.title="ct-daemon" \
    org.opencontainers.image.description="Keeps machine-learning models fresh" \
    org.opencontainers.image.licenses="Apache-2.0"
# The first process of a container must reap what trainers leave behind; tini does. The version is the base's business.
# hadolint ignore=DL3008
RUN command -v tini >/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
# A volume takes owner and mode from the folder that is there when it is declared.
RUN groupadd --gid 10001 ct-daemon \
    && useradd --uid 10001 --gid ct-daemon --home-dir /var/lib/ct-daemon --no-create-home \
        --shell /usr/sbin/nologin ct-daemon \
    && install -d -m 0700 -o ct-daemon -g ct-daemon /var/lib/ct-daemon \
    && install -d -m 0755 /etc/ct-daemon /srv/inbox
COPY --from=builder /opt/ct-daemon /opt/ct-daemon
ENV PATH=/opt/ct-daemon/bin:$PATH \
    CT_DAEMON_CONFIG=/etc/ct-daemon/ct-daemon.yaml \
    PYTHONDONTWRITEBYTECODE=1
# A base in which the libraries can't be loaded is no base; better told now than by the first file that arrives.
RUN ["python", "-c", "import numpy, pandas, pyarrow.parquet, scipy.stats, sklearn.ensemble, skops.io, sqlite3, ssl"]
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/ct-daemon
VOLUME /var/lib/ct-daemon
EXPOSE 8311 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=1m CMD ["ct-daemon", "health"]
ENTRYPOINT ["tini", "--", "ct-daemon"]
CMD ["run", "--log-json"]
