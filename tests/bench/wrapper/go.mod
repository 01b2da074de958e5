module reprise.dev/bench/wrapper

go 1.22
