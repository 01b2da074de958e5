module reprise.dev/engine

go 1.24
