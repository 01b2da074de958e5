package entry

import (
	"syscall"
	"unsafe"
)

const workingDirectory = ^uintptr(99) // AT_FDCWD, -100

// path is a file's, as the kernel takes it.
type path struct {
	bytes [4 << 10]byte
	n     int
}

func (p *path) pointer() uintptr { return uintptr(unsafe.Pointer(&p.bytes)) }

// join fails for what is too long, and for "..", from which the engine's filepath.Join may come out elsewhere than the kernel.
func (p *path) join(a, b, c, d string) bool {
	p.n = 0
	return p.add(a) && p.add(b) && p.add(c) && p.add(d) && p.n > 0
}

func (p *path) add(part string) bool {
	for i := 0; i < len(part); i++ {
		c := at(part, i)
		if uint(p.n) >= uint(len(p.bytes)-1) || c == '.' && at(part, i+1) == '.' {
			return false
		}
		p.bytes[p.n] = c
		p.n++
	}
	if uint(p.n) < uint(len(p.bytes)) {
		p.bytes[p.n] = 0
	}
	return true
}

// nothing reports whether there is certainly no such file. readlinkat needs no room for an answer to tell.
func (m *memory) nothing(a, b, c, d string) bool {
	if !m.path.join(a, b, c, d) {
		return false
	}
	var one [1]byte
	_, _, err := syscall.RawSyscall6(syscall.SYS_READLINKAT, workingDirectory, m.path.pointer(), uintptr(unsafe.Pointer(&one)), 1, 0, 0)
	return err == syscall.ENOENT
}

// object reads a file that consists of one JSON object. Unsure: anything but that, or larger than the buffer.
func (m *memory) object(buffer []byte, a, b, c, d string) (file string, s status) {
	if a == "" || !m.path.join(a, b, c, d) {
		return "", unsure
	}
	fd, _, err := syscall.RawSyscall6(syscall.SYS_OPENAT, workingDirectory, m.path.pointer(), syscall.O_RDONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if err == syscall.ENOENT {
		return "", absent
	}
	if err != 0 {
		return "", unsure
	}
	from, size, n := uintptr(unsafe.Pointer(unsafe.SliceData(buffer))), uintptr(len(buffer)), uintptr(0)
	for n < size && err == 0 {
		var got uintptr
		got, _, err = syscall.RawSyscall(syscall.SYS_READ, fd, from+n, size-n)
		if got == 0 {
			break
		}
		n += got
	}
	syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	if err != 0 || n >= size {
		return "", unsure
	}
	file = whole(view(unsafe.Pointer(unsafe.SliceData(buffer)), int(n)))
	if file == "" {
		return "", unsure
	}
	return file, found
}
