#!/usr/bin/env bash
# Build the engine. Arguments: the binary's path [what the linker gets besides, as one word]. GOARCH is amd64 or arm64.
# -E: the kernel enters at internal/entry, which becomes runc without Go's runtime where it can.
set -euo pipefail
OUTPUT=$(realpath "${1:?the path of the binary}")
cd "$(dirname "$0")"
GO=$(command -v go || echo /usr/local/go/bin/go)
CGO_ENABLED=0 GOFLAGS=-buildvcs=false exec "$GO" build -trimpath -ldflags "-s -w -E reprise_entry ${2:-}" -o "$OUTPUT" ./cmd/reprise-runc
