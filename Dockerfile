# The image of Drover: one static program, the certificates that HTTPS proxies are checked by, and nothing else. Apps need the image that has helm.
#   docker build --tag registry.example.com/drover:0.1.0 .
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
# On Alpine the host's own target is musl, so what comes out is static.
RUN cargo build --locked --release --package drover-manager

# helm 4, which renders charts of apps: `docker build --target drover-helm` makes an image that has it as well.
FROM golang:1.26-alpine AS build-helm
WORKDIR /source
COPY e2e/tools/helm/go.mod e2e/tools/helm/go.sum ./
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1" \
    -o /helm helm.sh/helm/v4/cmd/helm

FROM scratch AS drover-helm
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
COPY --from=build-helm /helm /helm
ENV DROVER_HELM=/helm
USER 65532:65532
ENTRYPOINT ["/drover"]
CMD ["run"]

# etcd and etcdutl, by which a backup is restored to see that it restores: `docker build --target drover-etcd` makes the image of
# backups.image.
FROM golang:1.26-alpine AS build-etcd
WORKDIR /source
COPY e2e/tools/etcd/go.mod e2e/tools/etcd/go.sum ./
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -ldflags "-s -w" -o /etcd go.etcd.io/etcd/server/v3 && \
    CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath -ldflags "-s -w" -o /etcdutl go.etcd.io/etcd/etcdutl/v3

FROM scratch AS drover-etcd
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
COPY --from=build-etcd /etcd /etcd
COPY --from=build-etcd /etcdutl /etcdutl
ENV PATH=/
ENTRYPOINT ["/drover"]

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
# Not root, and a number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/drover"]
CMD ["run"]
