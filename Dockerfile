# The image of Drover: one static program, the certificates that HTTPS proxies are checked by, and nothing else.
#   docker build --tag registry.example.com/drover:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
# On Alpine the host's own target is musl, so what comes out is static.
RUN cargo build --locked --release --package drover-manager

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
# Not root, and a number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/drover"]
CMD ["run"]
