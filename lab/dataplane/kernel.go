package dataplane

import (
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Release is the running kernel's release, as uname -r prints it.
func Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// Kernel is the running kernel's version.
func Kernel() (nat.Kernel, error) {
	release, err := Release()
	if err != nil {
		return nat.Kernel{}, err
	}
	return nat.ParseKernel(release)
}
