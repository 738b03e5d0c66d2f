# cowchat in a container: README, "In a container". `docker build -t cowchat .`
FROM rust:1.91-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
COPY --from=build /src/target/release/cowchat /usr/local/bin/
# A user without a name or a home; the server needs neither, and writes nothing.
USER 65534:65534
# Loopback would be the container's own, which no client reaches.
ENV COWCHAT_LISTEN=0.0.0.0:1337
EXPOSE 1337
ENTRYPOINT ["cowchat"]
CMD ["serve"]
