// counter is the program that the integration tests checkpoint. It keeps a count in memory and writes it, with the
// time, to /data/ticks about once a millisecond. It also changes its root file system as programs do.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		mib, _ := strconv.Atoi(os.Args[1])
		memory := make([]byte, mib<<20)
		for i := 0; i < len(memory); i += 4096 {
			memory[i], memory[i+1] = byte(i>>12), byte(i>>20)
		}
		defer func() { fmt.Println(memory[0]) }()
	}
	if len(os.Args) > 2 { // a file that stays open for reading and writing
		state, _ := os.OpenFile(os.Args[2], os.O_RDWR|os.O_CREATE, 0o644)
		state.WriteString("state")
		defer state.Close()
	}
	os.WriteFile("/var/changed", []byte("by the container"), 0o640)
	os.Remove("/etc/unwanted")
	ticks, err := os.OpenFile("/data/ticks", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("counter starts")
	for n := 1; ; n++ {
		fmt.Fprintf(ticks, "%d %d\n", n, time.Now().UnixNano())
		time.Sleep(time.Millisecond)
	}
}
