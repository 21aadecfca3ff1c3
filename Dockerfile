# syntax=docker/dockerfile:1
# Two stages: the first builds with the C packages that librdkafka needs, the second holds the binary,
# its settings, the TLS roots and nothing to build with.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential pkg-config libssl-dev zlib1g-dev perl \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The image's own toolchain: rust-toolchain.toml would fetch clippy and rustfmt as well.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tollgate \
 && install -D target/release/tollgate /out/tollgate

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/tollgate --create-home tollgate
COPY --from=build /out/tollgate /usr/local/bin/tollgate
COPY config /etc/tollgate
COPY LICENSE /usr/share/doc/tollgate/LICENSE
USER tollgate
WORKDIR /var/lib/tollgate
EXPOSE 8080
# The process commits or aborts what is in flight, leaves its groups and ends by itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["run", "--config", "/etc/tollgate/tollgate.toml"]
