# syntax=docker/dockerfile:1

# nats-scheduler as a container image. docs/deployment.md says how to run it.
#
#   docker build -t nats-scheduler .
#
# It needs BuildKit, the default of Docker 23 and newer, which keeps downloaded and compiled dependencies between builds.
# Both base images are Debian 13 (trixie), so the program finds the C library that it was linked with. Their tags name a
# version and still move with its security fixes: pin digests as well if each build must start from the same bytes.

FROM rust:1.95-slim-trixie AS build

# Caches of different platforms must not mix.
ARG TARGETPLATFORM
WORKDIR /src
COPY . .
# `touch`, because cargo compares times, and a file of an older commit can be older than the cached build of a newer one.
# The cache is no part of the image, so the program is copied out of it.
RUN --mount=type=cache,id=nats-scheduler-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=nats-scheduler-target-${TARGETPLATFORM},target=/src/target,sharing=locked \
    touch src/lib.rs src/main.rs \
    && cargo build --profile dist --no-default-features --locked --bin nats-scheduler \
    && install -D target/dist/nats-scheduler /out/nats-scheduler

# The C library, root certificates and little else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian13:nonroot

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nats-scheduler" \
      org.opencontainers.image.description="A job scheduler whose only dependency is NATS JetStream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /src/LICENSE /usr/share/doc/nats-scheduler/LICENSE
COPY --from=build /out/nats-scheduler /usr/local/bin/nats-scheduler

# `nonroot`, by its number, so that Kubernetes can see that it is not root. It owns no file and needs to write none.
USER 65532:65532

# HTTP listens on the loopback interface of the container unless API_HOST says otherwise, and on any other only with a
# token. So this image opens nothing by itself: see docs/deployment.md.
EXPOSE 8008

# Asks /live of the instance. That does not depend on NATS: a container that waits for NATS is not to be replaced.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/nats-scheduler", "healthcheck"]

# It finishes what is in flight within SHUTDOWN_GRACE_SECONDS. Let `docker stop` wait longer than that: --stop-timeout.
STOPSIGNAL SIGTERM

ENTRYPOINT ["/usr/local/bin/nats-scheduler"]
CMD ["serve"]
