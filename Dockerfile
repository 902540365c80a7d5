# Build: docker build --build-arg VERSION="$(git describe --tags --always --dirty)" -t remediator .
# Run:   docker run -p 8080:8080 -v "$PWD/rules.yaml:/etc/remediator/rules.yaml:ro" -v "$PWD/secrets:/var/lib/remediator/secrets:ro" -v remediator:/var/lib/remediator remediator
FROM golang:1.26 AS build
WORKDIR /src
# The modules first: a change of the code alone then downloads nothing.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/remediator ./cmd/remediator \
    && mkdir -p /out/state

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/remediator /remediator
# The image has no shell to chown with; 65532 is distroless's nonroot, who must be able to write the database.
COPY --from=build --chown=65532:65532 /out/state /var/lib/remediator
USER 65532:65532
# The verbs find the socket beside the database; secrets/ in the rules file is /var/lib/remediator/secrets.
WORKDIR /var/lib/remediator
VOLUME /var/lib/remediator
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 CMD ["/remediator", "health"]
ENTRYPOINT ["/remediator"]
CMD ["serve", "--rules", "/etc/remediator/rules.yaml", "--db", "sqlite:/var/lib/remediator/remediator.db", "--web.listen-address", ":8080"]
