package witness

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// getsockopt reads an option that is an array of numbers; x/sys has no such call.
func getsockopt(fd, level, option int, into []uint32) error {
	size := uint32(len(into) * 4)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
