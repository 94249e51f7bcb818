package tunnel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTUN makes the device in the calling thread's namespace. The descriptor becomes pollable only after TUNSETIFF, so
// it is handed to os.File after that.
func openTUN(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make TUN device %s: %w", name, err), unix.Close(fd))
	}
	// ip(8) shows "link/ipip" as it does for the kernel's device. A kernel that does not know the request shows "link/none".
	_ = unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_TUNNEL)
	return os.NewFile(uintptr(fd), name), nil
}

func openRaw(protocol int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("raw socket of protocol %d: %w", protocol, err)
	}
	// Without CAP_NET_ADMIN over the machine the buffer stays as it is: slower, but right.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	return os.NewFile(uintptr(fd), fmt.Sprintf("raw socket of protocol %d", protocol)), nil
}
