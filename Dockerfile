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

# kube-bench and its benchmarks, by which a node is scanned, with the programs that its checks call: `docker build --target drover-bench`
# makes the image of scans.
FROM golang:1.26-alpine AS build-kube-bench
WORKDIR /source
COPY e2e/tools/kube-bench/go.mod e2e/tools/kube-bench/go.sum ./
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath \
    -ldflags "-s -w -X github.com/aquasecurity/kube-bench/cmd.KubeBenchVersion=v0.15.6" -o /kube-bench github.com/aquasecurity/kube-bench && \
    cp -R "$(GOTOOLCHAIN=local go list -m -f '{{.Dir}}' github.com/aquasecurity/kube-bench)/cfg" /cfg && chmod -R u+w,a+rX /cfg

# Debian has no kubectl of this version.
FROM golang:1.26-alpine AS build-kubectl
WORKDIR /source
COPY e2e/tools/kubernetes/go.mod e2e/tools/kubernetes/go.sum ./
RUN CGO_ENABLED=0 GOTOOLCHAIN=local go build -trimpath \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 -X k8s.io/client-go/pkg/version.gitVersion=v1.37.1" \
    -o /kubectl k8s.io/kubernetes/cmd/kubectl

# Checks are scripts of a shell. They need the ps, stat, find and xargs of GNU, which those of Alpine are not.
FROM debian:13-slim AS drover-bench
RUN apt-get update && apt-get install --yes --no-install-recommends coreutils findutils grep jq mawk procps sed && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
COPY --from=build-kube-bench /kube-bench /kube-bench
COPY --from=build-kube-bench /cfg /cfg
COPY --from=build-kubectl /kubectl /usr/local/bin/kubectl
ENTRYPOINT ["/drover"]

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /source/target/release/drover /drover
# Not root, and a number, so that Kubernetes can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/drover"]
CMD ["run"]
